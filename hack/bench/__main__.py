"""``python -m hack.bench NAME [--quick]``."""

from __future__ import annotations

import argparse
import asyncio
import importlib
import os
import sys
from pathlib import Path

from hack.bench.report import Report
from hack.cluster import programs
from hack.cluster.containers import entry, sandbox
from hack.local import command

BENCHMARKS = (
    "cancel",
    "cap",
    "ledger",
    "node",
    "operator",
    "record",
    "scale",
    "scaler",
    "sizing",
    "soak",
    "status",
    "trace",
    "wake",
)
_FOLDER = Path(__file__).resolve().parents[2] / ".bench"


def main() -> int:
    """Run one benchmark; return 1 when a bar is missed."""
    parser = argparse.ArgumentParser(prog="make bench", description="Run a benchmark against its bars.")
    parser.add_argument("name", choices=BENCHMARKS, help="the benchmark: make bench NAME=...")
    parser.add_argument(
        "--quick",
        action="store_true",
        default=os.environ.get("QUICK", "") not in ("", "0"),
        help="fewer samples (QUICK=1)",
    )
    arguments = parser.parse_args()
    report = Report(arguments.name, arguments.quick)
    benchmark = importlib.import_module(f"hack.bench.{arguments.name}")
    if getattr(benchmark, "NEEDS_NODE", False) and not sandbox.inside():
        try:
            return entry.run_again("hack.bench", sys.argv[1:], programs.FAMILIES)
        except entry.CANNOT as error:
            print(f"bench: {error}", file=sys.stderr)
            return 1
    asyncio.run(benchmark.run(report))
    path = report.write(_FOLDER)
    report.show()
    print(f"written to {path.relative_to(_FOLDER.parent)}")
    for name in report.missed:
        print(f"missed: {name}", file=sys.stderr)
    return 1 if report.missed else 0


if __name__ == "__main__":
    command.run(main)
