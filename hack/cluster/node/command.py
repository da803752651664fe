"""A container's command line, for a machine without its image."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hack.cluster.node.environment import expand


def command_line(container: dict[str, Any], values: Mapping[str, str], mounts: Mapping[str, Path]) -> list[str]:
    """Answer program and arguments.

    Args:
        container: the container of a Pod.
        values: its environment.
        mounts: folders by the path that they are mounted at.
    """
    words = [*container["command"], *container.get("args", [])]
    return [relocated(expand(word, values), mounts) for word in words]


def relocated(text: str, mounts: Mapping[str, Path]) -> str:
    """Put the folder of a mount in the place of its path, wherever a path begins in the text.

    A path begins at the start, or behind one of ``= : ,`` or white space; so ``--cert=/certs/tls.crt`` is found.
    """
    for path in sorted(mounts, key=len, reverse=True):
        pattern = rf"(?:(?<=^)|(?<=[=:,\s])){re.escape(path.rstrip('/'))}(?=$|[/:,\s])"
        text = re.sub(pattern, str(mounts[path]).replace("\\", r"\\"), text)
    return text
