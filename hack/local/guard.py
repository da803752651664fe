"""Ends the children of a process that is gone, however it went: by SIGKILL, by a crash, or with its terminal.

One guard for each process that starts children. It is told their ids through a pipe that nobody else holds, so the
pipe's end is the process's end. Run as a program of its own, without this repository's packages: it starts at once.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time

_GRACE_SECONDS = 5.0


def started_at(pid: int) -> str:
    """Return what tells a process from a later one with its id; empty where the system does not say (not Linux)."""
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rpartition(")")[2].split()[19]
    except OSError:
        return ""


def _is_there(pid: int, started: str) -> bool:
    if started:
        return started_at(pid) == started
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, 0)
        return True
    return False


def _end(pid: int, number: signal.Signals) -> None:
    # Each child leads a group of its own, with whatever it has started in turn.
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, number)


def main() -> None:
    """Read ``<pid> <start>`` lines until the pipe ends, then end those that still run."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    children: dict[int, str] = {}
    for line in sys.stdin:
        pid, _, started = line.strip().partition(" ")
        children = {known: since for known, since in children.items() if _is_there(known, since)}
        children[int(pid)] = started
    for number in (signal.SIGTERM, signal.SIGKILL):
        alive = [pid for pid, started in children.items() if _is_there(pid, started)]
        for pid in alive:
            _end(pid, number)
            _end(pid, signal.SIGCONT)
        deadline = time.monotonic() + _GRACE_SECONDS
        while any(_is_there(pid, children[pid]) for pid in alive) and time.monotonic() < deadline:
            time.sleep(0.05)


if __name__ == "__main__":
    main()
