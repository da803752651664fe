"""A developers' command that needs a real node: run again in a sandbox, with all that comes from elsewhere at hand."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from hack.cluster import addresses, programs
from hack.cluster.containers import images, packages, sandbox
from hack.cluster.process_cluster import ProcessCluster

_BASE = "ARK_NODE_BASE"
"""Names the image to build on, as a mirror has it."""
_IMAGES = "ARK_NODE_IMAGES"
"""Tells the command in the sandbox where the images are."""
CANNOT = (
    programs.CannotBuild,
    images.CannotBuildImage,
    packages.Missing,
    packages.CannotInstall,
    addresses.NoAddresses,
)
"""What keeps this machine from having a real node."""


def run_again(module: str, arguments: Sequence[str], families: Sequence[programs.Family]) -> int:
    """Run a module in a sandbox and return its exit code; packages, programs and images are fetched and built before.

    Args:
        module: as for ``python -m``.
        arguments: of its command line.
        families: programs that it uses beside those of the node; in the sandbox nothing can be fetched.

    Raises:
        CannotBuild, CannotBuildImage, Missing, CannotInstall, NoAddresses: it cannot be.
    """
    packages.ensure()
    if (why := sandbox.refusal()) is not None:
        raise packages.Missing(why)
    programs.ensure((*programs.NODE_FAMILIES, *families))
    with tempfile.TemporaryDirectory(prefix="ark-images-", ignore_cleanup_errors=True) as folder:
        images.build(Path(folder), os.environ.get(_BASE))
        return sandbox.run([sys.executable, "-m", module, *arguments], {**os.environ, _IMAGES: folder})


def images_folder() -> Path:
    """Return the folder with the images' archives; in a sandbox only."""
    return Path(os.environ[_IMAGES])


def real_cluster(folder: Path) -> ProcessCluster:
    """Return a cluster with a real node, not started yet; in a sandbox only.

    Args:
        folder: gets all files.
    """
    return ProcessCluster(folder, images=images_folder())
