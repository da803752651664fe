"""Containers of a node that was killed: written down while they run, and ended by whoever cleans up."""

from __future__ import annotations

import json
import os
import signal
from contextlib import suppress
from pathlib import Path

import psutil


def remember(pid: int, path: Path) -> None:
    """Write down which process a container is, for whoever has to clean up after a node that was killed."""
    with suppress(psutil.NoSuchProcess, OSError):
        path.write_text(json.dumps({"pid": pid, "created": psutil.Process(pid).create_time()}))


def end_forgotten(folder: Path) -> int:
    """Kill the containers of a node that is gone, by what it wrote down; return how many there were."""
    killed = 0
    for path in folder.glob("*/*.process"):
        try:
            entry = json.loads(path.read_text())
            if psutil.Process(entry["pid"]).create_time() == entry["created"]:
                os.killpg(entry["pid"], signal.SIGKILL)
                killed += 1
        except (psutil.NoSuchProcess, ProcessLookupError, ValueError):
            pass
        path.unlink(missing_ok=True)
    return killed
