"""The images of a real node, built on this machine and kept in the user's cache folder.

The base is Docker's ``python`` image where its registry answers, else one made of Debian's packages.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from hack.cluster import manifests
from hack.cluster.programs import cache_folder, locked
from hack.cluster.progress import Progress
from hack.local.redis_binary import packaged_valkey

PROJECT, NEXT, REDIS = manifests.IMAGE, manifests.NEXT_IMAGE, manifests.REDIS_IMAGE
PAUSE = "localhost/ark-pause:1"
"""Holds a Pod's namespaces; the Redis image under another name, since its command without arguments sleeps."""
PROJECT_ARCHIVE = "ark.tar"
_BUILD = Path(__file__).resolve().parents[2] / "image" / "build.sh"
_BASE = "python:3.13-slim"
"""The Dockerfile's own default."""
_STAND_IN = "localhost/ark-base"
_SUITE = "trixie"
_PACKAGES = "python3,python3-venv,python3-pip,ca-certificates"
_LEFT_OUT = ("doc/*", "groff/*", "info/*", "lintian/*", "locale/*", "man/*")
"""Of /usr/share, as Debian's and Docker's own slim images leave it out."""
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_PULL_SECONDS = 60.0
_SECONDS = 1800.0


class CannotBuildImage(Exception):
    """An image cannot be built; the message has what the tool said."""


def build(folder: Path, base: str | None = None) -> None:
    """Build the images of the project and of Redis.

    Args:
        folder: gets an archive of each, for containerd.
        base: the image to build on, as a mirror or this machine has it.

    Raises:
        CannotBuildImage: a tool failed.
    """
    cache_folder().mkdir(parents=True, exist_ok=True)
    with locked(cache_folder() / "images.lock"):  # another checkout's image has the same name
        _buildah("rm", "--all")  # of a build that was killed
        base = base or _base()
        _build_project(PROJECT, base)
        _build_redis(REDIS, base)
        _archive(PROJECT, folder / PROJECT_ARCHIVE)
        _archive(REDIS, folder / "redis.tar")


def lay_out(folder: Path) -> int:
    """Write the project's image as a registry has it, into a folder (an OCI image layout); return its size in bytes.

    Raises:
        CannotBuildImage: it was not built, or a tool failed.
    """
    _buildah("push", "--quiet", "--format=oci", PROJECT, f"oci:{folder}")
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _build_project(name: str, base: str) -> None:
    """Build the project's Dockerfile, as ``make image`` does."""
    arguments = ["--layers", "--isolation=chroot", "--network=host"]
    # What this machine reaches its package registries with.
    ways = [path for path in ("/etc/ssl/certs", "/etc/pip.conf") if Path(path).exists()]
    arguments += [f"--volume={path}:{path}:ro" for path in ways]
    progress = Progress(f"building the image on {base}")
    with _storage() as buildah:
        variables = {"IMAGE_TOOL": " ".join(buildah), "IMAGE_ARGS": " ".join(arguments)}
        _run(["sh", str(_BUILD), name, base], variables=variables)
        _run([*buildah, "rmi", "--prune"])  # what this build has replaced
    progress.done()


def _base() -> str:
    try:
        _buildah("pull", "--quiet", "--retry=0", _BASE, seconds=_PULL_SECONDS)
    except CannotBuildImage as error:
        print(f"{_BASE} cannot be pulled: {str(error).strip().splitlines()[-1]}", file=sys.stderr, flush=True)
        return _stand_in()
    return _BASE


def _stand_in() -> str:
    """Return a base image made of Debian's packages; it is made once."""
    # Debian's program has another name.
    steps = [["run", "{}", "ln", "-s", "python3", "/usr/bin/python"], ["config", f"--env=PATH={_PATH}", "{}"]]
    options = [f"--include={_PACKAGES}", *(f"--dpkgopt=path-exclude=/usr/share/{name}" for name in _LEFT_OUT)]
    recipe = hashlib.sha256(f"{_SUITE} {options} {steps}".encode()).hexdigest()[:12]
    name = f"{_STAND_IN}:{recipe}"
    try:
        _buildah("inspect", "--type=image", name)
    except CannotBuildImage:
        pass
    else:
        return name
    progress = Progress("making a base image out of Debian's packages in its place, once")
    with tempfile.TemporaryDirectory(prefix="ark-base-") as folder:
        tar = Path(folder) / "base.tar"
        _run(["mmdebstrap", "--quiet", "--variant=minbase", *options, _SUITE, str(tar)])
        _from(name, "scratch", [["add", "{}", str(tar), "/"], *steps])
    progress.done()
    return name


def _build_redis(name: str, base: str) -> None:
    binary = packaged_valkey()
    if binary is None:
        raise CannotBuildImage("no Valkey for this machine among the Python packages")
    _from(
        name,
        base,
        [
            ["copy", "{}", str(binary.path), "/usr/local/bin/valkey-server"],
            ["config", "--entrypoint=[]", "--cmd=sleep infinity", "{}"],
        ],
    )


def _from(name: str, base: str, steps: Sequence[Sequence[str]]) -> None:
    """Make an image in some steps; ``{}`` stands for the working container."""
    container = _buildah("from", "--pull-never", base).strip()
    try:
        for step in steps:
            options = ["--isolation=chroot"] if step[0] == "run" else []
            _buildah(step[0], *options, *(container if word == "{}" else word for word in step[1:]))
        _buildah("commit", "--quiet", container, name)
    finally:
        _buildah("rm", container)


def _archive(name: str, path: Path) -> None:
    _buildah("push", "--quiet", name, f"docker-archive:{path}:{name}")


@contextmanager
def _storage() -> Iterator[list[str]]:
    """Yield the command that runs buildah on the images in the user's cache folder."""
    store = cache_folder().parent / "images"
    store.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="ark-images-") as run:
        # Mounts of a build that is killed go with their namespace.
        yield ["unshare", "--mount", "--fork", "--kill-child", "buildah", f"--root={store}", f"--runroot={run}"]


def _buildah(*arguments: str, seconds: float = _SECONDS) -> str:
    with _storage() as buildah:
        return _run([*buildah, *arguments], seconds)


def _run(command: Sequence[str], seconds: float = _SECONDS, *, variables: Mapping[str, str] | None = None) -> str:
    try:
        ended = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
            env={**os.environ, **(variables or {})},
        )
    except subprocess.TimeoutExpired as error:
        raise CannotBuildImage(f"{' '.join(command)} took longer than {seconds:g} s") from error
    if ended.returncode != 0:
        raise CannotBuildImage(f"{' '.join(command)} ended with {ended.returncode}:\n{ended.stderr[-3000:]}")
    return ended.stdout
