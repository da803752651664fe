"""``make record NAME=demo|top``: run a program in a terminal and write a picture of it that moves."""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from pathlib import Path

from ark_process.exceptions import leaves
from hack.cluster.kubectl import KubectlFailed
from hack.cluster.process_cluster import CannotStart
from hack.cluster.programs import CannotBuild
from hack.local import command
from hack.record import picture, terminal, top

_DOCS = Path(__file__).resolve().parents[2] / "docs"
_DEMO_SPEED = 5.0


async def _top() -> None:
    async with top.scene() as (line, environment):
        frames, seconds = await terminal.record(line, environment, rows=8, every=1.0)
    _write("top", picture.drawn(frames, seconds, title="kubectl ark top", speed=2.0))


async def _demo() -> None:
    line = [sys.executable, "-m", "hack.demo"]
    frames, seconds = await terminal.record(line, os.environ, rows=22, every=1.2)
    _write("demo", picture.drawn(frames, seconds, title=f"make demo, {_DEMO_SPEED:g} times as fast", speed=_DEMO_SPEED))


def _write(name: str, text: str) -> None:
    path = _DOCS / f"{name}.svg"
    path.write_text(text)
    print(f"record: {path.relative_to(_DOCS.parent)}, {len(text) / 1000:.0f} kB")


_SCENES = {"demo": _demo, "top": _top}


def main() -> int:
    """Record one scene."""
    parser = argparse.ArgumentParser(prog="make record", description=__doc__)
    parser.add_argument("scene", choices=sorted(_SCENES))
    options = parser.parse_args()
    code = 0
    try:
        asyncio.run(_SCENES[options.scene]())
    except* (terminal.NotRecorded, CannotStart, CannotBuild, KubectlFailed) as group:
        print(f"record: {next(iter(leaves(group)))}", file=sys.stderr)
        code = 1
    return code


if __name__ == "__main__":
    command.run(main)
