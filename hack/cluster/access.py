"""A cluster to deploy on and to look at, of whichever kind: the same calls for tests, demo and benchmarks.

| kind | what |
|---|---|
| `local` | the process cluster, started for the occasion |
| `node` | a real node in namespaces of its own, made for the occasion; needs Linux and root |
| `kind` | a kind cluster, made for the occasion; needs Docker, kind and kubectl |
| `current` | whatever the current kubeconfig names; KEDA and the image must be there |
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from hack.cluster.kubectl import Kubectl
from hack.cluster.state import State
from hack.local.process import ChildProcess

KINDS = ("local", "node", "kind", "current")
_READY_SECONDS = 180
_FORWARDING = re.compile(r"Forwarding from 127\.0\.0\.1:(\d+)")


class NoCluster(Exception):
    """There is no usable cluster; the message says what is missing."""


@dataclass(frozen=True, slots=True)
class Access:
    """One cluster."""

    kubectl: Kubectl
    local: State | None = None
    """The process cluster's own description; None for any other cluster."""
    near: bool = True
    """Whether this machine reaches Services itself, not by port-forwards only."""

    def address(self, namespace: str, service: str, port: int) -> str:
        """Return ``host:port`` that Pods and KEDA reach a Service by.

        The process cluster has no DNS, so there it is the Service's address.
        """
        if self.local is None:
            return f"{service}.{namespace}:{port}"
        return f"{self.host(namespace, service)}:{port}"

    def host(self, namespace: str, service: str) -> str:
        """Return the name or address of a Service, as a certificate for it must have it."""
        if self.local is None:
            return f"{service}.{namespace}"
        return self.kubectl.run("get", "service", service, "-n", namespace, "-o", "jsonpath={.spec.clusterIP}")

    @contextmanager
    def reach(self, namespace: str, app: str, port: int) -> Iterator[str]:
        """Yield ``host:port`` that this machine reaches the one Pod labelled ``app`` by, past its Service."""
        if self.near:
            ip = self.kubectl.run(
                "get", "pods", "-n", namespace, "-l", f"app={app}", "-o", "jsonpath={.items[0].status.podIP}"
            )
            yield f"{ip}:{port}"
            return
        command = self.kubectl.command("port-forward", "-n", namespace, f"deployment/{app}", f":{port}")
        with (
            tempfile.TemporaryDirectory(prefix="ark-forward-") as folder,
            ChildProcess(command, Path(folder) / "log") as forwarding,
        ):
            forwarding.wait_until(lambda: _FORWARDING.search(forwarding.output()) is not None, 30, "port-forward")
            match = _FORWARDING.search(forwarding.output())
            assert match is not None
            yield f"127.0.0.1:{match[1]}"

    def wait_ready(self, namespace: str, deployment: str) -> None:
        """Wait until a Deployment is rolled out and all of its Pods are ready.

        Raises:
            KubectlFailed: it is not within some minutes.
        """
        self.kubectl.run(
            *("rollout", "status", f"deployment/{deployment}", "-n", namespace, f"--timeout={_READY_SECONDS}s"),
            seconds=_READY_SECONDS + 10,
        )


def local(state: State) -> Access:
    """Return the access to a running process cluster."""
    return Access(Kubectl(state.kubectl, state.kubeconfig), state)


def current(*, near: bool = False) -> Access:
    """Return the access to the cluster of the current kubeconfig.

    Args:
        near: whether this machine reaches its Services.

    Raises:
        NoCluster: kubectl is missing, the cluster does not answer, or KEDA is not there.
    """
    program = shutil.which("kubectl")
    if program is None:
        raise NoCluster("kubectl is not on the PATH: install it, or use CLUSTER=local")
    first = os.environ.get("KUBECONFIG", "").split(os.pathsep)[0]
    kubeconfig = Path(first or Path.home() / ".kube" / "config")
    access = Access(Kubectl(Path(program), kubeconfig), near=near)
    ended = subprocess.run(
        access.kubectl.command("get", "crd", "scaledobjects.keda.sh"), capture_output=True, text=True, check=False
    )
    if ended.returncode != 0:
        raise NoCluster(f"the current cluster is not usable, or has no KEDA: {ended.stderr.strip()}")
    return access
