"""What decided the defaults of ArkAgents (ADR 11): the whole public trace, simulated with several of them.

Each is held against KEDA's redis-streams scaler, set up as well as its documentation allows: the ratios of the wait at
p95 and of the replica-seconds.
"""

from __future__ import annotations

from pathlib import Path

from hack.bench.report import Bar, Report
from hack.bench.trace.simulation import TUNED, Setting, simulate
from hack.demo import trace

_TRACE = Path(__file__).resolve().parents[1] / "demo" / "azure-llm-2023-code-by-second.csv"
_SLOTS = 5
_SETTINGS = ((5, 300.0), (5, 60.0), (4, 60.0), (3, 60.0), (3, 120.0))
"""Tasks for a replica of five slots, and seconds of patience."""
_CHOSEN = (3, 60.0)


async def run(report: Report) -> None:
    """Run the simulations."""
    arrivals = trace.read(_TRACE)
    rival = simulate(arrivals, TUNED)
    report.add("redis-streams, tuned: wait, p95", rival.wait(95), "s")
    report.add("redis-streams, tuned: replica-seconds", rival.replica_seconds, "s")
    for tasks, patience in _SETTINGS:
        found = simulate(arrivals, Setting(tasks_per_replica=tasks, patience=patience))
        name = f"{tasks} of {_SLOTS} slots, {patience:g} s"
        bars = (Bar("<=", 0.45), Bar("<=", 0.95)) if (tasks, patience) == _CHOSEN else (None, None)
        report.add(f"{name}: wait, p95 / redis-streams", found.wait(95) / rival.wait(95), "ratio", bars[0])
        seconds = found.replica_seconds / rival.replica_seconds
        report.add(f"{name}: replica-seconds / redis-streams", seconds, "ratio", bars[1])
