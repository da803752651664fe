"""A kind cluster for the end-to-end tests, on machines with Docker: made, loaded with the images, removed."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hack.cluster.manifests import IMAGE, NEXT_IMAGE, REDIS_IMAGE

_NAME = "ark-e2e"
_ROOT = Path(__file__).resolve().parents[2]


class CannotMake(Exception):
    """The cluster cannot be made; the message says what is missing, or what a tool said."""


@contextmanager
def cluster(keda_manifest: Path | None) -> Iterator[Path]:
    """Make a cluster with KEDA and the images; gives its kubeconfig. It is removed with the context.

    Args:
        keda_manifest: the manifest of a KEDA release, ``keda-<version>.yaml`` of its release page.

    Raises:
        CannotMake: a tool is missing or failed.
    """
    for tool in ("docker", "kind", "kubectl"):
        if shutil.which(tool) is None:
            raise CannotMake(f"{tool} is not on the PATH; CLUSTER=kind needs docker, kind and kubectl")
    if keda_manifest is None or not keda_manifest.exists():
        raise CannotMake(
            "CLUSTER=kind installs KEDA from its release's manifest: download keda-2.21.0.yaml from KEDA's release "
            "page and name it, KEDA_MANIFEST=keda-2.21.0.yaml"
        )
    with tempfile.TemporaryDirectory(prefix="ark-kind-") as folder:
        kubeconfig = Path(folder) / "kubeconfig"
        listed = subprocess.run(["kind", "get", "clusters"], capture_output=True, text=True, check=False).stdout  # noqa: S607
        if _NAME in listed.split():
            raise CannotMake(f"a kind cluster {_NAME} is there already: kind delete cluster --name {_NAME}")
        try:
            _run("kind", "create", "cluster", "--name", _NAME, "--kubeconfig", str(kubeconfig), "--wait", "120s")
            _run("docker", "build", "-t", IMAGE, "-t", NEXT_IMAGE, str(_ROOT))
            _run("docker", "pull", REDIS_IMAGE)
            for image in (IMAGE, NEXT_IMAGE, REDIS_IMAGE):
                _run("kind", "load", "docker-image", image, "--name", _NAME)
            kubectl = ("kubectl", f"--kubeconfig={kubeconfig}")
            _run(*kubectl, "apply", "--server-side", "-f", str(keda_manifest))
            _run(*kubectl, "-n", "keda", "wait", "--for=condition=Available", "--timeout=180s", "deployment", "--all")
            yield kubeconfig
        finally:
            _run("kind", "delete", "cluster", "--name", _NAME)


def _run(*command: str) -> None:
    ended = subprocess.run(command, env=os.environ, check=False)
    if ended.returncode != 0:
        raise CannotMake(f"{' '.join(command)} ended with {ended.returncode}")
