"""What sizing by the record is worth (ADR 18): whole pools, simulated, against KEDA's redis-streams scaler.

A sizing is chosen by what the record has of the first half of a trace, and judged on the second one, which it has not
seen; in one row it is chosen anew every two hours, by the two hours before. redis-streams is set up as well as its
documentation allows, and does not change.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from multiprocessing import get_context

from ark_api.agent import default_tasks_per_replica
from ark_cli import trace
from ark_sizing.bound import clairvoyant_seconds
from ark_sizing.choice import size
from ark_sizing.record import spans_of
from ark_sizing.setting import FIXED, TUNED_REDIS_STREAMS, Setting
from ark_sizing.simulation import Outcome, Pool, Task, averaged
from hack.bench import generated
from hack.bench.report import Bar, Report
from hack.demo import summary

_SLOTS = 5
_FIXED = replace(FIXED, tasks_per_replica=default_tasks_per_replica(_SLOTS, None))
_SYNCS = 5
_STEADY_SECONDS, _BURSTS_SECONDS = 3000.0, 6000.0
_SHORT_WAIT = 0.5
"""Seconds at p95. A ratio of waits below that says little."""


@dataclass(frozen=True, slots=True)
class Row:
    """One pool, and the bars of its ratios."""

    name: str
    pool: Pool
    first: Sequence[Task]
    second: Sequence[Task]
    wait: float | None = None
    """Bar of the wait at p95 by redis-streams'; None for none."""
    cost: float | None = None
    """Bar of the replica-seconds by redis-streams'."""
    short_wait: float = 0.0
    """A wait at p95 that is good whatever redis-streams has, seconds."""
    target_wait_seconds: float | None = None
    bound: float | None = None
    """Bar of the replica-seconds by those of a pool that knows the future."""
    anew_seconds: float | None = None
    """How often a sizing is chosen, by as much of the record; None for once, by the first half."""


@dataclass(frozen=True, slots=True)
class Found:
    """What came of a row."""

    setting: str
    wait: float
    expected_wait: float
    replica_seconds: float
    terminating_seconds: float
    fixed: tuple[float, float]
    rival: tuple[float, float]
    """Wait at p95 and replica-seconds."""
    bound: float


def judge(row: Row) -> Found:
    """Choose by the first half, judge on the second."""
    if row.anew_seconds is not None:
        return _judge_often(row, row.anew_seconds)
    sizing = size(spans_of(row.first), row.pool, _FIXED, row.target_wait_seconds)
    setting = sizing.setting
    ours, fixed, rival = (
        averaged([row.second] * _SYNCS, each, row.pool) for each in (setting, _FIXED, TUNED_REDIS_STREAMS)
    )
    said = f"reserve {setting.reserve:g}, patience {setting.patience_seconds:g} s, base {setting.base or 'none'}"
    if setting.target_wait_seconds is not None:
        said += f", scaled for a wait of {setting.target_wait_seconds:g} s"
    return Found(
        said,
        ours.wait(95),
        sizing.expected.wait_seconds if sizing.expected else 0.0,
        ours.replica_seconds,
        ours.terminating_seconds,
        (fixed.wait(95), fixed.replica_seconds),
        (rival.wait(95), rival.replica_seconds),
        clairvoyant_seconds(row.second, row.pool.slots, row.pool.start_seconds),
    )


def _judge_often(row: Row, seconds: float) -> Found:
    """Choose again and again; each stretch begins with a cold pool, whoever scales it."""
    chosen: list[Setting] = []
    outcomes: list[list[Outcome]] = [[], [], []]
    expected, bound = 0.0, 0.0
    for begin in range(0, int(row.second[-1].at), int(seconds)):
        earlier = row.first if begin == 0 else row.second
        offset = generated.DAY_SECONDS - seconds if begin == 0 else begin - seconds
        before = [Task(task.at - offset, task.seconds) for task in earlier if 0 <= task.at - offset < seconds]
        now = [Task(task.at - begin, task.seconds) for task in row.second if 0 <= task.at - begin < seconds]
        sizing = size(spans_of(before), row.pool, _FIXED, present=chosen[-1] if chosen else None)
        if sizing.setting not in chosen[-1:]:
            chosen.append(sizing.setting)
        for kept, setting in zip(outcomes, (sizing.setting, _FIXED, TUNED_REDIS_STREAMS), strict=True):
            kept.append(averaged([now], setting, row.pool))
        expected = max(expected, sizing.expected.wait_seconds if sizing.expected else 0.0)
        bound += clairvoyant_seconds(now, row.pool.slots, row.pool.start_seconds)
    ours, fixed, rival = (
        Outcome(
            sorted(wait for one in kept for wait in one.waits),
            sum(one.replica_seconds for one in kept),
            sum(one.terminating_seconds for one in kept),
        )
        for kept in outcomes
    )
    return Found(
        f"{len(chosen)} sizings",
        ours.wait(95),
        expected,
        ours.replica_seconds,
        ours.terminating_seconds,
        (fixed.wait(95), fixed.replica_seconds),
        (rival.wait(95), rival.replica_seconds),
        bound,
    )


def rows(quick: bool) -> Iterator[Row]:
    """Yield the rows, those that take longest first."""
    steady_pools = (30,) if quick else (60, 30)
    for replicas in steady_pools:
        tasks = generated.steady(replicas, _SLOTS, _STEADY_SECONDS)
        first, second = generated.halves(tasks, _STEADY_SECONDS / 2)
        for start in (2.0, 10.0):
            pool = Pool(_SLOTS, start, max_replicas=2 * replicas)
            name = f"steady, {replicas} replicas, start {start:g} s"
            yield Row(name, pool, first, second, 0.7, 0.88, short_wait=_SHORT_WAIT)
    if not quick:
        tasks = generated.daily(2, night=0.2, noon=3.0)
        first, second = generated.halves(tasks, generated.DAY_SECONDS)
        pool = Pool(_SLOTS, 10.0, max_replicas=20)
        yield Row("daily pattern, start 10 s", pool, first, second, 0.8, 0.85)
        name = "daily pattern, chosen every two hours, start 10 s"
        yield Row(name, pool, first, second, 0.8, 0.85, anew_seconds=7200.0)
    arrivals = trace.read(summary.DEFAULT)
    tasks = [Task(arrival.at, generated.service_seconds(arrival.output_tokens)) for arrival in arrivals]
    first, second = generated.halves(tasks, tasks[-1].at / 2)
    for start, wait, cost, bound in ((2.0, 0.45, 0.45, 1.6), (10.0, 0.65, 0.65, None), (30.0, 0.85, 0.95, None)):
        pool = Pool(_SLOTS, start, max_replicas=20)
        yield Row(f"bursty, start {start:g} s", pool, first, second, wait, cost, bound=bound)
    yield Row(
        "bursty, start 2 s, wanted wait 30 s",
        Pool(_SLOTS, 2.0, max_replicas=20),
        first,
        second,
        target_wait_seconds=30.0,
        bound=1.2,
    )
    # Nothing was chosen by these: what the objective is worth on arrivals that nobody looked at before.
    swapped = second, first
    first, second = generated.halves(generated.bursts(_BURSTS_SECONDS), _BURSTS_SECONDS / 2)
    for start in (2.0, 10.0, 30.0):
        pool = Pool(_SLOTS, start, max_replicas=40)
        yield Row(f"other bursts, start {start:g} s", pool, first, second)
        yield Row(f"bursty, halves exchanged, start {start:g} s", Pool(_SLOTS, start, max_replicas=20), *swapped)


async def run(report: Report) -> None:
    """Run the simulations, two at a time."""
    todo = list(rows(report.quick))
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as processes:
        loop = asyncio.get_running_loop()
        jobs = [loop.run_in_executor(processes, judge, row) for row in todo]
        found = [await job for job in jobs]
    for row, one in zip(todo, found, strict=True):
        _report(report, row, one)
    largest = max(one.terminating_seconds / (one.replica_seconds + one.terminating_seconds) for one in found)
    report.add("pod-seconds of Pods that finish their tasks, of all; the largest", largest, "ratio", Bar("<=", 0.05))


def _report(report: Report, row: Row, found: Found) -> None:
    name = f"{row.name} ({found.setting}): wait, p95"
    if row.target_wait_seconds is None:
        limit = None if row.wait is None else round(max(row.short_wait, row.wait * found.rival[0]), 3)
        report.add(name, found.wait, "s", _bar(limit))
        report.add(f"{row.name}: wait, p95 / redis-streams", found.wait / found.rival[0], "ratio")
    else:
        report.add(name, found.wait, "s", _bar(row.target_wait_seconds))
    report.add(f"{row.name}: wait, p95, expected by the first half", found.expected_wait, "s")
    cost = found.replica_seconds / found.rival[1]
    report.add(f"{row.name}: replica-seconds / redis-streams", cost, "ratio", _bar(row.cost))
    clairvoyant = found.replica_seconds / found.bound
    report.add(f"{row.name}: replica-seconds / clairvoyant", clairvoyant, "ratio", _bar(row.bound))
    if row.target_wait_seconds is None:
        report.add(f"{row.name}, fixed: wait, p95 / redis-streams", found.fixed[0] / found.rival[0], "ratio")
        report.add(f"{row.name}, fixed: replica-seconds / redis-streams", found.fixed[1] / found.rival[1], "ratio")


def _bar(limit: float | None) -> Bar | None:
    return None if limit is None else Bar("<=", limit)
