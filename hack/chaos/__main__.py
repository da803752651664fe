"""``python -m hack.chaos [--only NAME ...]``: play the faults, and write ``.bench/chaos.json``."""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console
from rich.table import Table

from hack.bench.report import machine_facts
from hack.chaos.faults import FAULTS, Fault
from hack.chaos.play import Outcome, Play
from hack.chaos.stack import deployed
from hack.cluster import programs
from hack.local import command

_RECOVERY_SECONDS = 10.0
_FOLDER = Path(__file__).resolve().parents[2] / ".bench"


async def _run(faults: list[Fault]) -> list[Outcome]:
    with tempfile.TemporaryDirectory(prefix="ark-chaos-", ignore_cleanup_errors=True) as folder:
        async with deployed(Path(folder)) as stack:
            play = Play(stack, faults)
            try:
                await play.run()
            finally:
                _write(play.outcomes)
            return play.outcomes


def _write(outcomes: list[Outcome]) -> None:
    _FOLDER.mkdir(exist_ok=True)
    content = {
        "when": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine_facts(),
        "software": {"kubernetes": programs.KUBERNETES.version, "keda": programs.KEDA.version},
        "faults": [one.raw() for one in outcomes],
    }
    (_FOLDER / "chaos.json").write_text(json.dumps(content, indent=2) + "\n")


def _missed(one: Outcome) -> list[str]:
    """Return what of an outcome misses its bar."""
    found = [
        f"{value} {what}"
        for value, what in (
            (one.lost, "tasks lost"),
            (one.over, "tokens over the cap"),
            (one.zeros, "times wrongly at zero"),
        )
        if value
    ]
    if one.recovery_seconds > _RECOVERY_SECONDS:
        found.append(f"{one.recovery_seconds:g} s until everything works again")
    return found


def _show(outcomes: list[Outcome]) -> None:
    table = Table(title="Faults")
    for column in ("fault", "lost", "again", "over cap", "zero", "backlog", "wake", "pin", ""):
        table.add_column(column, justify="left" if column in ("fault", "") else "right")
    for one in outcomes:
        seconds = (one.backlog_seconds, one.wake_seconds, one.pin_seconds)
        times = ["never" if math.isinf(value) else f"{value:.1f} s" for value in seconds]
        numbers = (one.lost, one.again, one.over, one.zeros)
        table.add_row(one.fault, *map(str, numbers), *times, "MISSED" if _missed(one) else "met")
    Console().print(table)


def main() -> int:
    """Play the faults; return 1 where a bar is missed."""
    parser = argparse.ArgumentParser(prog="make chaos", description="Break one thing after the other under load.")
    parser.add_argument("--only", action="append", default=[], help="faults whose names contain this (ONLY=)")
    options = parser.parse_args()
    faults = [one for one in FAULTS if not options.only or any(part in one.name for part in options.only)]
    if not faults:
        print(f"no fault matches --only; there are: {', '.join(one.name for one in FAULTS)}", file=sys.stderr)
        return 2
    outcomes = asyncio.run(_run(faults))
    _show(outcomes)
    for one in outcomes:
        for what in _missed(one):
            print(f"missed: {one.fault}: {what}", file=sys.stderr)
    print("written to .bench/chaos.json")
    return 1 if any(_missed(one) for one in outcomes) else 0


if __name__ == "__main__":
    command.run(main)
