"""What a demo shows at its end: a table, and a line for everything that must not have happened."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass

from rich.table import Table

from hack.demo.measure import Outcomes, Sampler


@dataclass(frozen=True, slots=True)
class WorkerEnds:
    """Workers that did not end as they should."""

    killed: int
    """Had to be killed after their grace period."""
    crashed: int
    """Ended by themselves."""


def table(found: Outcomes, sampler: Sampler, ends: WorkerEnds, further: Sequence[tuple[str, str]] = ()) -> Table:
    """Return the table of a demo's result.

    Args:
        found: what became of the tasks.
        sampler: what was seen on the way.
        ends: how workers ended.
        further: more rows.
    """
    shown = Table(title="Result (waits and replica-seconds in seconds of the trace)")
    shown.add_column("what")
    shown.add_column("value", justify="right")
    for name, value in (
        ("wait p50", f"{found.wait_percentile(50):.1f} s"),
        ("wait p95", f"{found.wait_percentile(95):.1f} s"),
        ("wait p99", f"{found.wait_percentile(99):.1f} s"),
        ("replica-seconds", f"{sampler.replica_seconds:,.0f}"),
        ("most replicas", f"{max(sample.replicas for sample in sampler.samples)}"),
        ("tasks submitted", f"{found.submitted:,}"),
        ("tasks done", f"{found.completed:,}"),
        ("tasks retried", f"{found.retried:,}"),
        ("tasks dead", f"{found.dead:,}"),
        ("tasks lost", f"{found.lost:,}"),
        ("pods killed", f"{ends.killed:,}"),
        *further,
    ):
        shown.add_row(name, value)
    return shown


def problems(found: Outcomes, arrivals: int, ends: WorkerEnds) -> list[str]:
    """Name everything that must not have happened.

    Args:
        found: what became of the tasks.
        arrivals: requests of the trace.
        ends: how workers ended.
    """
    told = []
    if found.submitted != arrivals:
        told.append(f"{arrivals} requests, but {found.submitted} tasks submitted")
    if found.completed != found.submitted:
        told.append(f"{found.submitted} tasks submitted, but {found.completed} completed and {found.dead} dead")
    if found.retried:
        told.append(f"{found.retried} tasks needed more than one attempt: a worker was cut off")
    if ends.killed or ends.crashed:
        told.append(f"{ends.killed} pods had to be killed and {ends.crashed} crashed")
    return told


def tell(problems: Sequence[str]) -> int:
    """Print each problem on standard error; return the exit code."""
    for problem in problems:
        print(f"demo: {problem}", file=sys.stderr)
    return 1 if problems else 0
