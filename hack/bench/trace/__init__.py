"""A stretch of a real trace, scaled by this project and by KEDA's own redis-streams scaler, one after the other.

| contender | set up |
|---|---|
| ark, Adaptive | an ArkAgent with `maxReplicas` alone; its operator has what came before the stretch on record |
| ark, Fixed | the same with `sizing: Fixed` |
| ark, Fixed, targetWaitSeconds | the same with `targetWaitSeconds: 30` |
| redis-streams | lagCount 5, all else KEDA's defaults: a poll every 30 s, the HPA's own pace |
| redis-streams, tuned | pendingEntriesCount + lagCount by scalingModifiers, pollingInterval 5, raised at once |

Each has a process cluster of its own with the real Kubernetes, HPA and KEDA, the same Redis, the same workers
(`hack.bench.trace.nursery`: 5 tasks at a time, two seconds until one is there, or ``START=10``), at most 20 of them,
and the same arrivals at their own pace. What a simulation makes of the same arrivals stands beside it. A run ends when
the pool is at zero again; the next contender is set up while a pool without tasks is on its way there, which is some
five minutes of next to nothing. ``STRETCH=from-to`` in minutes of the trace takes another stretch, ``TRACE=file.csv``
another trace, ``ONLY=name,name`` some of the contenders. A stretch with less than twenty minutes before it has
no ark, Adaptive. ``TOGETHER=1`` runs them at the same time, still each on a
cluster of its own: the machine is all but idle, and four hours become one.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from ark_cli import trace
from ark_cli.trace import Arrival
from ark_sizing.bound import clairvoyant_seconds
from ark_sizing.choice import LEAST_SECONDS, LEAST_TASKS
from ark_sizing.setting import described
from ark_sizing.simulation import Pool, Task, averaged
from hack.bench.generated import service_seconds
from hack.bench.report import Bar, Report
from hack.bench.trace import picture
from hack.bench.trace.contenders import CONTENDERS, MAX_REPLICAS, SLOTS, TARGET_WAIT_SECONDS, Contender
from hack.bench.trace.result import Run
from hack.bench.trace.run import play
from hack.cluster import programs

_ROOT = Path(__file__).resolve().parents[3]
_TRACE = _ROOT / "hack" / "demo" / "azure-llm-2023-code-by-second.csv"
_STRETCH = "14-32"
"""Minutes, from the trace's largest burst on, with gaps of up to 139 s; the whole trace takes an hour for each."""
_QUICK_STRETCH = "14.0-14.6"
_START_SECONDS, _LONGEST_START_SECONDS = 2.0, 60.0
_SYNCS = 5
"""Moments at which a simulated HPA looks first."""
_FOLDER = _ROOT / ".bench"


async def run(report: Report) -> None:
    """Run the benchmark."""
    path = Path(os.environ.get("TRACE") or _TRACE)
    stretch = os.environ.get("STRETCH") or (_QUICK_STRETCH if report.quick else _STRETCH)
    whole = trace.read(path)
    arrivals = _cut(whole, stretch)
    before = [arrival for arrival in whole if arrival.at < 60 * float(stretch.split("-")[0])]
    only = [name.strip() for name in os.environ.get("ONLY", "").split(",") if name.strip()]
    learns = len(before) >= LEAST_TASKS and before[-1].at - before[0].at > LEAST_SECONDS
    contenders = [one for one in CONTENDERS if one.key in (only or [one.key]) and (learns or not one.learns)]
    report.software = {
        "kubernetes": programs.KUBERNETES.version,
        "keda": programs.KEDA.version,
        "trace": path.name,
        "stretch, minutes": stretch,
        "requests": str(len(arrivals)),
    }
    together = os.environ.get("TOGETHER", "") not in ("", "0")
    report.software["one after the other"] = "no, at the same time" if together else "yes"
    start_seconds = _start_seconds()
    report.software["start of a Pod, seconds"] = f"{start_seconds:g}"
    runs: dict[str, Run] = {}

    async def one(contender: Contender, worked: asyncio.Event) -> None:
        print(f"{contender.name}: {len(arrivals)} requests in {arrivals[-1].at:.0f} s", file=sys.stderr, flush=True)
        runs[contender.key] = await play(contender, arrivals, before, start_seconds, worked)
        _keep(runs, arrivals)

    async with asyncio.TaskGroup() as group:
        for contender in contenders:
            worked = asyncio.Event()
            group.create_task(one(contender, worked))
            if not together:
                await worked.wait()
    for contender in contenders:
        _figures(report, contender.name, runs[contender.key])
        _simulated(report, contender, runs[contender.key], arrivals, start_seconds)
    _compare(report, runs, Bar("<=", 0.45) if start_seconds == _START_SECONDS else None)


def _start_seconds() -> float:
    """Return how long Pods start.

    Raises:
        SystemExit: it is no number of seconds.
    """
    given = os.environ.get("START") or str(_START_SECONDS)
    try:
        seconds = float(given)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds <= _LONGEST_START_SECONDS:
        raise SystemExit(f"START is {given!r}, not a number of seconds from 0 to {_LONGEST_START_SECONDS:g}")
    return seconds


def _cut(arrivals: list[Arrival], stretch: str) -> list[Arrival]:
    """Return the arrivals of a stretch, ``from-to`` in minutes, counted from its beginning.

    Raises:
        SystemExit: the stretch cannot be read, or has no arrivals.
    """
    try:
        begin, end = (float(part) for part in stretch.split("-"))
    except ValueError:
        raise SystemExit(f"STRETCH is {stretch!r}, not from-to in minutes, for example {_STRETCH}") from None
    try:
        return trace.stretch(arrivals, begin, end)
    except trace.BadTrace as error:
        raise SystemExit(str(error)) from None


def _figures(report: Report, name: str, run: Run) -> None:
    ours = name.startswith("ark")
    none = Bar("<=", 0) if ours else None
    for share in (50, 95, 99):
        report.add(f"{name}: wait, p{share}", run.wait(share), "s")
    report.add(f"{name}: tasks that waited over 30 s", run.over(30.0), "tasks")
    report.add(f"{name}: replica-seconds", run.replica_seconds, "s")
    report.add(f"{name}: pod-seconds, with Pods that finish their tasks", run.pod_seconds, "s")
    report.add(f"{name}: from the last task's end to zero", run.zero_seconds, "s")
    report.add(f"{name}: tasks broken off by scale-in", run.broken_off, "tasks", none)
    report.add(f"{name}: tasks completed twice", run.twice, "tasks", none)
    report.add(f"{name}: tasks lost", run.lost, "tasks", none)


def _simulated(
    report: Report, contender: Contender, run: Run, arrivals: Sequence[Arrival], start_seconds: float
) -> None:
    """Hold the simulation against the cluster, and the cluster against a pool that knows the future."""
    tasks = [Task(arrival.at, service_seconds(arrival.output_tokens)) for arrival in arrivals]
    bound = clairvoyant_seconds(tasks, SLOTS, start_seconds)
    report.add(f"{contender.name}: replica-seconds / clairvoyant", run.replica_seconds / bound, "ratio")
    if run.setting is not None:
        report.software[f"{contender.name}"] = described(run.setting)
        pool = Pool(SLOTS, start_seconds, max_replicas=MAX_REPLICAS)
        found = averaged([tasks] * _SYNCS, run.setting, pool)
        for what, measured, simulated in (
            ("wait, p95", run.wait(95), found.wait(95)),
            ("replica-seconds", run.replica_seconds, found.replica_seconds),
        ):
            report.add(f"{contender.name}: {what}, simulated", simulated, "s")
            off = abs(measured / simulated - 1) if simulated else measured
            # A short stretch has a handful of looks of the HPA, which chance decides.
            bar = None if report.quick else Bar("<=", 0.15)
            report.add(f"{contender.name}: {what}, off the simulation by", off, "ratio", bar)


def _compare(report: Report, runs: dict[str, Run], wait_bar: Bar | None) -> None:
    rivals = [run for key, run in runs.items() if key.startswith("keda")]
    ours = runs.get("ark-adaptive") or runs.get("ark")
    if ours is not None and rivals:
        best = min(rivals, key=lambda run: run.wait(95))
        report.add("wait, p95: ark / the better redis-streams", ours.wait(95) / best.wait(95), "ratio", wait_bar)
        ratio = ours.replica_seconds / best.replica_seconds
        report.add("replica-seconds: ark / the same redis-streams", ratio, "ratio", Bar("<=", 0.95))
    if "ark-wait" in runs:
        report.add("targetWaitSeconds: wait, p95", runs["ark-wait"].wait(95), "s", Bar("<=", TARGET_WAIT_SECONDS))
    if {"ark", "ark-wait"} <= runs.keys():
        ratio = runs["ark-wait"].replica_seconds / runs["ark"].replica_seconds
        report.add("replica-seconds: with targetWaitSeconds / without", ratio, "ratio", Bar("<=", 0.99))


def _keep(runs: dict[str, Run], arrivals: list[Arrival]) -> None:
    """Write the raw numbers and the picture, after each contender: a run takes a quarter of an hour."""
    _FOLDER.mkdir(exist_ok=True)
    raw = {
        "arrivals": [round(arrival.at, 2) for arrival in arrivals],
        "runs": {k: run.raw() for k, run in runs.items()},
    }
    (_FOLDER / "trace-raw.json").write_text(json.dumps(raw, separators=(",", ":")) + "\n")
    ordered = [(one.name, runs[one.key]) for one in CONTENDERS if one.key in runs]
    picture.save(ordered, arrivals, _FOLDER / "trace.png")
