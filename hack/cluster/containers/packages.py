"""What the distribution has to bring: containerd, the plugins for its network, and what builds images."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

_PROGRAMS = {
    "buildah": "buildah",
    "containerd": "containerd",
    "ctr": "containerd",
    "ip": "iproute2",
    "iptables": "iptables",
    "mmdebstrap": "mmdebstrap",
    "runc": "runc",
    "unshare": "util-linux",
}
"""Debian's package by program."""
_PLUGINS = "containernetworking-plugins"
_PLUGIN_FOLDERS = (Path("/usr/lib/cni"), Path("/opt/cni/bin"))
_SECONDS = 900.0


class Missing(Exception):
    """This machine cannot have a real node; the message says what is missing."""


class CannotInstall(Exception):
    """The distribution's tool failed; the message has what it said."""


def ensure() -> None:
    """Install what is missing.

    Raises:
        Missing: this is not Linux, not root, or no Debian and something is missing.
        CannotInstall: the distribution's tool failed.
    """
    if sys.platform != "linux" or os.geteuid() != 0:
        raise Missing("CLUSTER=node needs Linux and root: it makes namespaces, mounts and cgroups")
    packages = sorted({package for program, package in _PROGRAMS.items() if shutil.which(program) is None})
    if _plugins() is None:
        packages.append(_PLUGINS)
    if not packages:
        return
    if shutil.which("apt-get") is None:
        raise Missing(f"CLUSTER=node needs what Debian has in the packages {', '.join(packages)}: install them")
    print(f"installing {', '.join(packages)}", file=sys.stderr, flush=True)
    for command in (["update", "-qq"], ["install", "-y", "-qq", "--no-install-recommends", *packages]):
        try:
            ended = subprocess.run(
                ["apt-get", *command],  # noqa: S607
                env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"},
                capture_output=True,
                text=True,
                timeout=_SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise CannotInstall(f"apt-get {' '.join(command)} took longer than {_SECONDS:g} s") from error
        if ended.returncode != 0:
            raise CannotInstall(f"apt-get {' '.join(command)} failed:\n{(ended.stdout + ended.stderr)[-2000:]}")


def plugins() -> Path:
    """Return the folder of the CNI plugins.

    Raises:
        Missing: there is none.
    """
    found = _plugins()
    if found is None:
        raise Missing(f"no CNI plugins in {' or '.join(map(str, _PLUGIN_FOLDERS))}")
    return found


def _plugins() -> Path | None:
    return next((folder for folder in _PLUGIN_FOLDERS if (folder / "bridge").exists()), None)
