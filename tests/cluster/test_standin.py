"""The demo's stand-in for KEDA and the HPA against the real ones: the same arrivals give the same curve."""

from __future__ import annotations

import asyncio
import time
from contextlib import aclosing

import grpc
import pytest

from ark_scaler.wire import externalscaler_pb2 as wire
from ark_sizing import hpa
from hack.cluster import manifests
from hack.cluster.api import AUTOSCALERS
from hack.cluster.manifests import Scaling
from hack.demo.clock import DemoClock
from hack.demo.keda import KedaStandIn, ScaledObject
from tests.cluster.curves import Curve, differences
from tests.cluster.stack import SYNC_SECONDS, Pool, Recorder, Stack, make_pool, recorded

SCALING = Scaling(max_replicas=12, polling_seconds=10, cooldown_seconds=20, scale_down_seconds=30)
ARRIVALS = ((7.0, 12, 40.0), (52.0, 32, 46.0), (67.0, 10, 30.0))
"""Second since a look of the HPA, tasks, and how long each takes: 3 replicas, then 7, 9, and none.

The HPA's number depends on when it looks, and near its tolerance on what it looked at before. So the stand-in looks
when the real one does, and nothing happens within two seconds of a look.
"""
SLACK_SECONDS = 2.0
"""What a loaded machine may add to a sync period."""


class ScaledByTheStandIn:
    """A Deployment of the cluster that the stand-in scales."""

    def __init__(self, pool: Pool, group: asyncio.TaskGroup) -> None:
        self._pool = pool
        self._group = group
        self.replicas = 0

    def scale(self, replicas: int) -> None:
        """Set the replicas, in the cluster as soon as can be."""
        if replicas != self.replicas:
            self.replicas = replicas
            self._group.create_task(self._pool.stack.api.scale(self._pool.path, replicas))


def stand_in(pool: Pool, channel: grpc.aio.Channel, group: asyncio.TaskGroup) -> KedaStandIn:
    """Return a stand-in with the settings that the real KEDA has."""
    metadata = {"queue": f"{pool.stack.namespace}/{pool.agent}", "tasksPerReplica": "5", "scalerAddress": "here"}
    reference = wire.ScaledObjectRef(name=pool.agent, namespace=pool.stack.namespace, scalerMetadata=metadata)
    down = hpa.Rules(SCALING.scale_down_seconds, (hpa.Policy("Percent", 100),))
    return KedaStandIn(
        ScaledObject(
            reference,
            polling_seconds=SCALING.polling_seconds,
            cooldown_seconds=SCALING.cooldown_seconds,
            max_replicas=SCALING.max_replicas,
            behavior=hpa.Behavior(scale_up=hpa.UNTHROTTLED_UP, scale_down=down),
        ),
        channel,
        ScaledByTheStandIn(pool, group),
        DemoClock(1.0),
    )


async def first_look(pool: Pool) -> float:
    """Wait for the real HPA's first look at a pool, after which it looks every sync period; return its time."""
    name = f"metadata.name=keda-hpa-{pool.agent}"
    async with aclosing(pool.stack.api.watch(AUTOSCALERS.path(pool.stack.namespace), fieldSelector=name)) as events:
        async for event in events:
            if event.object.get("status", {}).get("conditions"):
                return time.monotonic()
    raise AssertionError("a watch has no end")


async def replay(pools: list[Pool], began: float) -> None:
    """Submit the arrivals to all pools at the same moments, and wait until all are done."""
    tasks: dict[str, list[str]] = {pool.agent: [] for pool in pools}
    for second, count, seconds in ARRIVALS:
        await asyncio.sleep(began + second - time.monotonic())
        for pool in pools:
            tasks[pool.agent] += await pool.submit([seconds] * count)
    for pool in pools:
        assert {result.attempts for result in await pool.results(tasks[pool.agent])} == {1}


def curve(recorder: Recorder, began: float) -> Curve:
    return [(max(0.0, moment - began), replicas) for moment, replicas in recorder.changes]


async def test_the_stand_ins_replicas_are_the_real_ones_within_one_sync_period(stack: Stack) -> None:
    real = await make_pool(stack, "real", SCALING)
    played = Pool(stack, "played")
    await stack.apply(manifests.workers(stack.namespace, played.agent, stack.redis_url))
    with stack.access.reach(stack.namespace, manifests.SCALER, manifests.SCALER_PORT) as scaler:
        async with (
            grpc.aio.insecure_channel(scaler) as channel,
            recorded(real) as real_recorder,
            recorded(played) as played_recorder,
            asyncio.TaskGroup() as group,
        ):
            began = await first_look(real)
            keda = group.create_task(stand_in(played, channel, group).run())
            await replay([real, played], began)
            await real.reaches(0, 120)
            await played.reaches(0, 120)
            keda.cancel()
    until = time.monotonic() - began
    real_curve, played_curve = curve(real_recorder, began), curve(played_recorder, began)
    print(f"real   {[(round(moment), replicas) for moment, replicas in real_curve]}")
    print(f"played {[(round(moment), replicas) for moment, replicas in played_curve]}")
    tolerance = SYNC_SECONDS + SLACK_SECONDS
    assert list(differences(real_curve, played_curve, tolerance, until)) == []
    assert list(differences(played_curve, real_curve, tolerance, until)) == []


@pytest.mark.parametrize(
    ("other", "found"),
    [
        ([(0, 0), (1, 1), (5, 4), (50, 0)], 0),
        ([(0, 0), (1, 1), (12, 4), (50, 0)], 0),
        ([(0, 0), (1, 1), (22, 4), (50, 0)], 8),
        ([(0, 0), (1, 1), (5, 3), (50, 0)], 84),
    ],
)
def test_curves_differ_where_a_value_is_missing_or_too_late(other: Curve, found: int) -> None:
    assert len(list(differences([(0, 0), (1, 1), (8, 4), (50, 0)], other, 10.0, 60.0))) == found
