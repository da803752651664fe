"""A container's command line, for a machine without its image."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hack.cluster.node.environment import expand

_INIT = "dumb-init"
REDIS_PROGRAMS = frozenset({"redis-server", "valkey-server"})


def command_line(
    container: dict[str, Any], ip: str, values: Mapping[str, str], mounts: Mapping[str, Path]
) -> list[str]:
    """Return program and arguments.

    Redis listens on its Pod's address only: in a Pod of its own a program listens on every address, here all Pods share
    this machine's. Our own programs are told by variables. An init is left out, since no process is the first here.

    Args:
        container: the container of a Pod.
        ip: its Pod's address.
        values: its environment.
        mounts: folders by the path that they are mounted at.
    """
    words = [*container["command"], *container.get("args", [])]
    if words[0] == _INIT and len(words) > 1:
        words = words[1:]
    if words[0] in REDIS_PROGRAMS and "--bind" not in words:
        words += ["--bind", ip]
    return [relocated(expand(word, values), mounts) for word in words]


def relocated(text: str, mounts: Mapping[str, Path]) -> str:
    """Put the folder of a mount in the place of its path, wherever a path begins in the text.

    A path begins at the start, or behind one of ``= : ,`` or white space; so ``--cert=/certs/tls.crt`` is found. What
    was put in is not looked at again: the folders themselves may lie below a path that is mounted, as ``/tmp``.
    """
    folders = {path.rstrip("/"): folder for path, folder in mounts.items()}
    if not folders:
        return text
    paths = "|".join(re.escape(path) for path in sorted(folders, key=len, reverse=True))
    return re.sub(rf"(?:(?<=^)|(?<=[=:,\s]))({paths})(?=$|[/:,\s])", lambda match: str(folders[match[1]]), text)
