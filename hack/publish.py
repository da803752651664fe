"""What a release publishes beside the image and the wheel; ``.github/workflows/release.yml`` calls this.

    python -m hack.publish chart --repository URL --image IMAGE FOLDER    the chart, with where it comes from
    python -m hack.publish plugin FOLDER                                  kubectl ark for this kind of machine
    python -m hack.publish krew --repository URL FOLDER                   krew's manifest of the plugins there

Where the project is hosted is known where a release is made, and stands in no file.
"""

from __future__ import annotations

import argparse
import hashlib
import platform
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[1]
ICON = "docs/icon.svg"
PACKAGES = ("ark_api@api", "ark_cli@cli", "ark_process@process", "ark_sizing@sizing", "ark_taskqueue@taskqueue")
"""What the plugin has of the project: package and folder."""
_ARCHIVE = re.compile(r"kubectl-ark_(linux|darwin)_(amd64|arm64)\.tar\.gz")
_ARCHITECTURES = {"x86_64": "amd64", "amd64": "amd64", "aarch64": "arm64", "arm64": "arm64"}
_OWN_IMAGE = "\n  repository: ark\n"
_PEX_SECONDS = 600


class NotPublished(Exception):
    """Something cannot be made; the message says why."""


def version() -> str:
    """Return the project's version."""
    return str(tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"])


def published_chart(repository: str, image: str, target: Path) -> Path:
    """Copy the chart, and say in it where it comes from.

    Args:
        repository: the project's address, ``https://host/owner/name``.
        image: the image that it runs, without a tag: the chart's own version is that.
        target: folder that the chart's folder is put into.
    """
    folder = target / "ark"
    shutil.copytree(ROOT / "charts" / "ark", folder)
    path = folder / "Chart.yaml"
    chart: dict[str, Any] = yaml.safe_load(path.read_text())
    chart |= {
        "home": repository,
        "sources": [repository],
        "icon": f"{repository}/raw/v{chart['version']}/{ICON}",
    }
    chart["annotations"] |= {
        "artifacthub.io/images": yaml.safe_dump(
            [{"name": "ark", "image": f"{image}:{chart['appVersion']}"}], sort_keys=False
        ),
        "artifacthub.io/links": yaml.safe_dump(
            [{"name": "changes", "url": f"{repository}/blob/v{chart['version']}/CHANGELOG.md"}], sort_keys=False
        ),
        "artifacthub.io/prerelease": str("-" in chart["version"]).lower(),
    }
    path.write_text(yaml.safe_dump(chart, sort_keys=False))
    values = folder / "values.yaml"
    text = values.read_text()
    if text.count(_OWN_IMAGE) != 1:
        raise NotPublished(f"values.yaml does not have {_OWN_IMAGE.strip()!r} once")
    values.write_text(text.replace(_OWN_IMAGE, f"\n  repository: {image}\n"))
    return folder


def plugin(target: Path, pythons: Sequence[str] = ()) -> Path:
    """Build ``kubectl ark`` for this system and architecture: one file that needs a Python, in an archive.

    Args:
        target: folder of the archive.
        pythons: interpreters that the file is for; this one where empty.

    Raises:
        NotPublished: this kind of machine has no name in krew, or the file cannot be built.
    """
    machine = _ARCHITECTURES.get(platform.machine().lower())
    if machine is None:
        raise NotPublished(f"krew has no name for {platform.machine()}")
    with tempfile.TemporaryDirectory(prefix="ark-plugin-") as made:
        program = Path(made) / "kubectl-ark"
        command = [str(Path(sys.executable).with_name("pex")), "--venv", "prepend", "--output-file", str(program)]
        # "python3" and not the oldest one that it is for; and nothing is compiled on the way.
        command += ["--python-shebang", "/usr/bin/env python3", "--no-build"]
        command += ["--requirement", str(ROOT / "requirements-plugin.lock"), "--entry-point", "ark_cli.__main__:main"]
        for package in PACKAGES:
            name, folder = package.split("@")
            command += ["--package", f"{name}@{ROOT / folder}"]
        for python in pythons or (sys.executable,):
            command += ["--python", python]
        try:
            ended = subprocess.run(command, capture_output=True, text=True, check=False, timeout=_PEX_SECONDS)
        except (OSError, subprocess.TimeoutExpired) as error:
            raise NotPublished(f"cannot build the plugin: {error}") from error
        if ended.returncode != 0:
            raise NotPublished(f"cannot build the plugin:\n{ended.stderr[-3000:]}")
        target.mkdir(parents=True, exist_ok=True)
        archive = target / f"kubectl-ark_{platform.system().lower()}_{machine}.tar.gz"
        with tarfile.open(archive, "w:gz") as tar:
            tar.add(program, "kubectl-ark")
            tar.add(ROOT / "LICENSE", "LICENSE")
    return archive


def krew_manifest(repository: str, folder: Path) -> str:
    """Return krew's manifest of the archives in a folder.

    Raises:
        NotPublished: there is none.
    """
    found = [(match, path) for path in sorted(folder.iterdir()) if (match := _ARCHIVE.fullmatch(path.name))]
    if not found:
        raise NotPublished(f"{folder} has no kubectl-ark_<os>_<arch>.tar.gz")
    tag = f"v{version()}"
    manifest = {
        "apiVersion": "krew.googlecontainertools.github.com/v1alpha2",
        "kind": "Plugin",
        "metadata": {"name": "ark"},
        "spec": {
            "version": tag,
            "homepage": repository,
            "shortDescription": "See and override the scaling of LLM agents",
            "description": (
                "Shows the pools of LLM agents that Ark scales: size, queue, token budget, and why\n"
                "a pool has the size that it has. Submits tasks, reads results and dead letters,\n"
                "pins pools, and checks an installation.\n"
            ),
            "caveats": "Needs Python 3.11 or newer.\n",
            "platforms": [
                {
                    "selector": {"matchLabels": {"os": match[1], "arch": match[2]}},
                    "uri": f"{repository}/releases/download/{tag}/{path.name}",
                    "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
                    "bin": "kubectl-ark",
                }
                for match, path in found
            ],
        },
    }
    return yaml.safe_dump(manifest, sort_keys=False)


def main() -> int:
    """Make what is asked for; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m hack.publish", description="What a release publishes.")
    actions = parser.add_subparsers(dest="action", required=True)
    repository: dict[str, Any] = {"required": True, "help": "the project's address, https://host/owner/name"}
    chart = actions.add_parser("chart", help="the chart, with where it comes from")
    chart.add_argument("--repository", **repository)
    chart.add_argument("--image", required=True, help="the image, without a tag")
    built = actions.add_parser("plugin", help="kubectl ark for this kind of machine")
    built.add_argument("--python", action="append", default=[], help="interpreter that it is for; repeat for others")
    krew = actions.add_parser("krew", help="krew's manifest of the plugins in the folder")
    krew.add_argument("--repository", **repository)
    for action in (chart, built, krew):
        action.add_argument("folder", type=Path)
    given = parser.parse_args()
    try:
        if given.action == "chart":
            print(published_chart(given.repository, given.image, given.folder))
        elif given.action == "plugin":
            print(plugin(given.folder, given.python))
        else:
            path = given.folder / "ark.yaml"
            path.write_text(krew_manifest(given.repository, given.folder))
            print(path)
    except (NotPublished, OSError) as error:
        print(f"publish: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
