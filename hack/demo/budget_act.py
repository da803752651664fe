"""The demo's second act: a daily token cap is reached, the pool goes to zero, and comes back as the window moves on.

A day passes in some seconds: what stands in the token ledger is made older all the time. Everything else is real: the
workers reserve and settle, the scaler reports no demand while the budget is exceeded. No operator is there, so the pool
goes to zero after the cooldown of its ScaledObject.
"""

from __future__ import annotations

import asyncio
import itertools
from pathlib import Path

import grpc
from rich.console import Console
from rich.table import Table

from ark_scaler.wire import externalscaler_pb2 as wire
from ark_sizing import hpa
from ark_taskqueue import Budget, Client, Producer, QueueKeys, TokenLedger, read_depth
from ark_taskqueue.ledger.token_ledger import ledger_keys
from hack.demo import chart, picture
from hack.demo.clock import DemoClock
from hack.demo.keda import KedaStandIn, ScaledObject
from hack.demo.measure import Sample, outcomes
from hack.demo.pods import PodDeployment

QUEUE = QueueKeys.for_agent("demo", "capped")
_DAY = 24 * 3600
_DAY_SECONDS = 12.0
"""Real seconds in which a day passes."""
_BUDGET = Budget(daily=24_000, per_call=1000)
_META = {"latency_seconds": 0.3, "input_tokens": 600, "output_tokens": 400}
_TASKS = 48
"""Twice what the budget has."""
_TASKS_PER_SECOND = 6.0
_MOVE_SECONDS = 0.1
_SAMPLE_SECONDS = 0.1
_SLOTS = 2
_SPEED = 60.0
"""Of KEDA's and the HPA's times."""
_LONGEST_SECONDS = 90.0
_EXPECTED_SECONDS = 2 * _DAY_SECONDS
_AGE = (Path(__file__).with_name("age_log.lua")).read_text()


async def play(
    redis_url: str, client: Client, channel: grpc.aio.Channel, folder: Path, console: Console, path: Path
) -> list[str]:
    """Play the act, and save its picture; return what must not have happened."""
    console.print(
        f"budget: {_TASKS} tasks of 1,000 tokens each, {_BUDGET.daily:,} tokens a day; a day takes {_DAY_SECONDS:.0f} s"
    )
    display = chart.progress(console, _EXPECTED_SECONDS, chart.BUDGET_ROWS)
    pods = PodDeployment(redis_url, QUEUE.name, _SLOTS, folder, _BUDGET)
    producer = Producer(client, QUEUE)
    ids: list[str] = []
    samples: list[Sample] = []
    try:
        async with pods, asyncio.TaskGroup() as tasks:
            keda = KedaStandIn(_scaled_object(), channel, pods, DemoClock(_SPEED))
            helpers = [
                tasks.create_task(work) for work in (pods.run(), keda.run(), _move_window(client), _load(producer, ids))
            ]
            await _watch(client, pods, ids, samples, display)
            for helper in helpers:
                helper.cancel()
    finally:
        display.close()
    found = await outcomes(producer, ids, 1.0)
    problems = _problems(samples, found.completed, pods)
    picture.save_budget(samples, _BUDGET.daily or 0, path, f"{_TASKS} tasks, a day in {_DAY_SECONDS:.0f} s")
    console.print(_table(samples, found.completed), f"picture: {path}")
    return problems


def _scaled_object() -> ScaledObject:
    metadata = {
        "queue": QUEUE.name,
        "tasksPerReplica": str(_SLOTS),
        "maxDailyTokens": str(_BUDGET.daily),
        "maxTokensPerCall": str(_BUDGET.per_call),
    }
    return ScaledObject(
        wire.ScaledObjectRef(name="capped", namespace="demo", scalerMetadata=metadata),
        polling_seconds=15.0,
        cooldown_seconds=30.0,
        max_replicas=6,
        behavior=hpa.Behavior(scale_up=hpa.UNTHROTTLED_UP, scale_down=hpa.Rules(60, (hpa.Policy("Percent", 100),))),
    )


async def _load(producer: Producer, ids: list[str]) -> None:
    for _ in range(_TASKS):
        ids.append((await producer.submit("x", meta=_META)).task_id)
        await asyncio.sleep(1 / _TASKS_PER_SECOND)


async def _move_window(client: Client) -> None:
    """Let a day pass in its seconds, until cancelled."""
    _, log, _ = ledger_keys(QUEUE)
    loop = asyncio.get_running_loop()
    moved = loop.time()
    while True:
        await asyncio.sleep(_MOVE_SECONDS)
        seconds = int((loop.time() - moved) * _DAY / _DAY_SECONDS)
        moved += seconds * _DAY_SECONDS / _DAY
        await client.execute_command("EVAL", _AGE, 1, log, seconds)


async def _watch(
    client: Client, pods: PodDeployment, ids: list[str], samples: list[Sample], display: chart.Progress
) -> None:
    """Sample until every task is done and the pool is gone, or for as long as the act may take."""
    loop, ledger = asyncio.get_running_loop(), TokenLedger(client, QUEUE)
    began = loop.time()
    while (elapsed := loop.time() - began) < _LONGEST_SECONDS:
        depth, usage = await read_depth(client, QUEUE), await ledger.usage(_BUDGET)
        sample = Sample(elapsed, len(ids), depth.waiting, depth.in_flight, pods.replicas, usage.total)
        samples.append(sample)
        phase = "cap reached, waiting for the window" if usage.exceeded else "working within the cap"
        display.show(samples, max(0.0, _EXPECTED_SECONDS - elapsed), phase)
        if len(ids) == _TASKS and depth.demand == 0 and pods.replicas == 0:
            return
        await asyncio.sleep(_SAMPLE_SECONDS)


def _stops(samples: list[Sample]) -> int:
    """Count how often the pool went to zero though tasks waited."""
    pairs = itertools.pairwise(samples)
    return sum(before.replicas > 0 and after.replicas == 0 and after.waiting > 0 for before, after in pairs)


def _problems(samples: list[Sample], completed: int, pods: PodDeployment) -> list[str]:
    told = []
    most = max(sample.tokens for sample in samples)
    if most > (_BUDGET.daily or 0):
        told.append(f"{most} tokens were spent in 24 hours, and {_BUDGET.daily} are the cap")
    if completed != _TASKS:
        told.append(f"{_TASKS} tasks under a cap, but {completed} completed")
    if not _stops(samples):
        told.append("the cap did not stop the pool")
    if pods.killed or pods.crashed:
        told.append(f"{pods.killed} pods had to be killed and {pods.crashed} crashed")
    return told


def _table(samples: list[Sample], completed: int) -> Table:
    shown = Table(title="Budget")
    shown.add_column("what")
    shown.add_column("value", justify="right")
    for name, value in (
        ("cap, tokens in 24 h", f"{_BUDGET.daily:,}"),
        ("most tokens in 24 h", f"{max(sample.tokens for sample in samples):,}"),
        ("stops at the cap", f"{_stops(samples)}"),
        ("tasks under the cap", f"{_TASKS}"),
        ("of them done", f"{completed}"),
    ):
        shown.add_row(name, value)
    return shown
