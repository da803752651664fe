"""The operator on a real Kubernetes with the real KEDA: agents' workers are real processes."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from ark_operator.cluster.kinds import ARK_AGENTS
from ark_taskqueue import read_depth
from hack.cluster import manifests, operator_manifests
from hack.cluster.access import local
from hack.cluster.api import AUTOSCALERS, DEPLOYMENTS, EVENTS, SCALED_OBJECTS, ApiError, Object
from hack.cluster.process_cluster import ProcessCluster
from tests.cluster.conftest import not_ours
from tests.cluster.stack import Pool, Stack, deployed, recorded
from tests.eventually import eventually

POLLING = {"polling-seconds": "5", "status-seconds": "2"}


@asynccontextmanager
async def with_operator(stack: Stack, **settings: str) -> AsyncIterator[Stack]:
    """Give a stack an operator of its namespace, which has exactly the rights of its manifests."""
    await stack.apply(operator_manifests.crd(), *operator_manifests.rbac(stack.namespace, only=True))
    flags = {"watch-namespace": stack.namespace, **POLLING, **settings}
    await stack.apply(
        operator_manifests.deployment(stack.namespace, stack.redis_url, stack.scaler_address, settings=flags)
    )
    await stack.ready(operator_manifests.ACCOUNT)
    yield stack
    # Before the namespace goes, so that KEDA takes its finalizers off.
    await stack.kubectl("delete", "arkagents", "--all", "--wait=false")


@pytest.fixture
async def governed(stack: Stack) -> AsyncIterator[Stack]:
    """A stack with an operator."""
    async with with_operator(stack) as made:
        yield made


async def make(stack: Stack, name: str = "writer", **spec: Any) -> Pool:
    """Apply an ArkAgent, with five tasks for a replica where it is autoscaled."""
    values = {"model": "echo", "systemPrompt": "p", "limits": {"timeoutSeconds": 100}, **spec}
    if "autoscaling" in values:
        values["autoscaling"] = {"tasksPerReplica": 5, **values["autoscaling"]}
    await stack.apply(operator_manifests.agent(stack.namespace, name, **values))
    pool = Pool(stack, name)
    await eventually(lambda: there(pool), "the Deployment", 60)
    return pool


async def there(pool: Pool) -> bool:
    try:
        await pool.replicas()
    except ApiError:
        return False
    return True


async def agent_of(pool: Pool) -> Object:
    return await pool.stack.api.get(ARK_AGENTS.path(pool.stack.namespace, pool.agent))


async def said(pool: Pool, kind: str) -> tuple[str, str, str]:
    """Return a condition of an agent."""
    conditions = (await agent_of(pool)).get("status", {}).get("conditions", [])
    found = [(c["status"], c["reason"], c["message"]) for c in conditions if c["type"] == kind]
    return found[0] if found else ("", "", "")


async def says(pool: Pool, kind: str, reason: str, seconds: float = 60.0) -> str:
    """Wait until a condition has a reason; return its message."""

    async def so() -> bool:
        return (await said(pool, kind))[1] == reason

    await eventually(so, f"{kind} is {reason}", seconds, every=0.1)
    return (await said(pool, kind))[2]


async def events(stack: Stack, reason: str) -> list[str]:
    listed = await stack.api.get(EVENTS.path(stack.namespace), fieldSelector=f"reason={reason}")
    return [item["message"] for item in listed["items"]]


async def test_an_agent_follows_its_queue_from_zero_and_back(governed: Stack) -> None:
    pool = await make(governed, autoscaling={"maxReplicas": 12, "cooldownSeconds": 5})
    await says(pool, "Autoscaling", "FollowsQueue")
    await pool.accepted()
    async with recorded(pool) as recorder:
        ids = await pool.submit([6.0] * 37)
        await pool.reaches(8)
        results = await pool.results(ids)
        await pool.reaches(0)
    assert all((result.status, result.attempts) == ("completed", 1) for result in results)
    assert recorder.values[:2] == [0, 1]
    assert max(recorder.values) == 8, "ceil(37 / 5), and never more"
    # The operator may look while tasks are still being added: then it, or the HPA, goes on from there.
    assert all(text.startswith("Raised writer-agent from ") for text in await events(governed, "ScaledBurst"))

    async def mirrored() -> bool:
        return "replicas" not in (await agent_of(pool))["spec"]

    await eventually(mirrored, "the empty field of a pool at zero")
    table = await governed.kubectl("get", "ark")
    heads = ["NAME", "MODEL", "MODE", "REPLICAS", "READY", "WAITING", "TOKENS(24H)", "AGE"]
    assert table.splitlines()[0].split() == heads
    assert re.match(r"writer\s+echo\s+Auto\s+\d", table.splitlines()[1])
    described = await governed.kubectl("describe", "arkagent", "writer")
    assert "ScaledBurst" in described
    assert "FollowsQueue" in described


async def test_a_schedule_keeps_replicas_while_its_time_lasts(governed: Stack) -> None:
    now = datetime.now(UTC)
    began, over = now - timedelta(minutes=2), now + timedelta(hours=2)
    start, end = (f"{moment.minute} {moment.hour} * * *" for moment in (began, over))
    schedule = [{"start": start, "end": end, "minReplicas": 2}]
    pool = await make(governed, autoscaling={"maxReplicas": 4, "cooldownSeconds": 5, "schedule": schedule})
    await says(pool, "Autoscaling", "FollowsQueue")
    await pool.reaches(2)
    assert await pool.demand() == 0
    patch: Object = {"spec": {"autoscaling": {"schedule": []}}}
    await governed.kubectl("patch", "arkagent", "writer", "--type=merge", "-p", json.dumps(patch))
    await pool.reaches(0, 120)


@pytest.mark.timeout(300)
async def test_a_persons_number_holds_for_two_minutes_against_a_demand_for_twelve(governed: Stack) -> None:
    pool = await make(governed, autoscaling={"maxReplicas": 20, "cooldownSeconds": 5}, template=ASLEEP)
    await says(pool, "Autoscaling", "FollowsQueue")
    await pool.accepted()
    await pool.submit([1.0] * 58)
    await pool.reaches(12)
    await governed.kubectl("scale", "arkagent", "writer", "--replicas=5")
    began = time.monotonic()
    await pool.reaches(5, 30)
    async with recorded(pool) as recorder:
        await asyncio.sleep(max(0.0, began + 120 - time.monotonic()))
        assert await pool.demand() == 58
    assert recorder.values == [5]
    assert (await said(pool, "Autoscaling"))[1] == "Pinned"
    assert not (await governed.api.get(AUTOSCALERS.path(governed.namespace)))["items"], "KEDA has taken its HPA away"
    await governed.kubectl("patch", "arkagent", "writer", "--type=merge", "-p", '{"spec": {"replicas": null}}')
    await pool.reaches(12, 30)
    await says(pool, "Autoscaling", "FollowsQueue")


ASLEEP = {"spec": {"schedulerName": "nobody"}}
"""Pods that stay pending: their queue's demand stays as it is."""


async def test_scaled_to_zero_by_hand_the_pool_drains_and_stays_down(governed: Stack) -> None:
    pool = await make(governed, autoscaling={"cooldownSeconds": 5})
    await says(pool, "Autoscaling", "FollowsQueue")
    await pool.accepted()
    ids = await pool.submit([8.0] * 10)

    async def at_work() -> bool:
        return (await read_depth(governed.redis, pool.queue)).in_flight == 10

    await eventually(at_work, "all tasks at work", 60, every=0.1)
    await governed.kubectl("scale", "arkagent", "writer", "--replicas=0")
    await pool.reaches(0)
    results = await pool.results(ids)
    assert all((result.status, result.attempts) == ("completed", 1) for result in results), "none was cut off"
    waiting = await pool.submit([0.1] * 20)
    await asyncio.sleep(7)  # a poll, and a push
    assert await pool.replicas() == 0
    await governed.kubectl("patch", "arkagent", "writer", "--type=merge", "-p", '{"spec": {"replicas": null}}')
    await pool.results(waiting)


async def test_deleting_an_agent_removes_its_children_and_leaves_the_queue(governed: Stack) -> None:
    pool = await make(governed, autoscaling={}, template=ASLEEP)
    await says(pool, "Autoscaling", "FollowsQueue")
    await pool.submit([1.0] * 3)
    await governed.kubectl("delete", "arkagent", "writer")

    async def gone() -> bool:
        for kind in (SCALED_OBJECTS, AUTOSCALERS):
            if (await governed.api.get(kind.path(governed.namespace)))["items"]:
                return False
        listed = (await governed.api.get(DEPLOYMENTS.path(governed.namespace)))["items"]
        return all(item["metadata"]["name"] != "writer-agent" for item in listed)

    await eventually(gone, "the children's end", 60, every=0.1)
    assert await pool.demand() == 3


async def test_without_the_operator_keda_goes_on(governed: Stack) -> None:
    pool = await make(governed, autoscaling={"cooldownSeconds": 5})
    await says(pool, "Autoscaling", "FollowsQueue")
    await pool.accepted()
    await governed.kubectl("scale", "deployment", operator_manifests.ACCOUNT, "--replicas=0")
    await governed.kubectl("wait", "--for=delete", "pod", f"-lapp={operator_manifests.ACCOUNT}", "--timeout=60s")
    async with recorded(pool) as recorder:
        ids = await pool.submit([6.0] * 40)
        await pool.results(ids)
        assert max(recorder.values) >= 3, "the push, and then the HPA"
    assert not await events(governed, "ScaledBurst")
    await governed.kubectl("scale", "deployment", operator_manifests.ACCOUNT, "--replicas=1")

    async def mirrored() -> bool:
        item = await agent_of(pool)
        return bool(item["spec"].get("replicas", 0) == await pool.replicas() and item["status"]["mode"] == "Auto")

    await eventually(mirrored, "the operator at work again", 60, every=0.1)


async def test_keda_refuses_a_second_scaled_object_and_the_agent_says_so(governed: Stack) -> None:
    trigger = {
        "type": "cron",
        "metadata": {"timezone": "UTC", "start": "0 0 * * *", "end": "1 0 * * *", "desiredReplicas": "1"},
    }
    pool = await make(governed, replicas=1, template=ASLEEP)
    foreign = manifests.scaled_object(governed.namespace, "writer", [trigger])
    foreign["metadata"]["name"] = "theirs"
    await governed.apply(foreign)
    await governed.api.patch(ARK_AGENTS.path(governed.namespace, "writer"), {"spec": {"autoscaling": {}}})
    assert "ScaledObject theirs also scales Deployment writer-agent" in await says(pool, "Autoscaling", "Conflict")
    await governed.kubectl("delete", "scaledobject", "theirs")
    await governed.api.patch(ARK_AGENTS.path(governed.namespace, "writer"), {"spec": {"replicas": None}})
    await says(pool, "Autoscaling", "FollowsQueue")


async def test_a_scaler_that_refuses_the_queue_is_told_of(governed: Stack) -> None:
    pool = await make(governed, autoscaling={}, queue={"stream": "ark:{other/writer}:tasks"})
    message = await says(pool, "Autoscaling", "ScaledObjectNotReady")
    assert f"namespace '{governed.namespace}' may not read the stream" in message
    await governed.api.patch(ARK_AGENTS.path(governed.namespace, "writer"), {"spec": {"queue": None}})
    await says(pool, "Autoscaling", "FollowsQueue")


async def test_the_status_shows_the_queue(governed: Stack) -> None:
    pool = await make(governed, replicas=0)
    await pool.submit([1.0] * 4)

    async def shown() -> bool:
        return bool((await agent_of(pool)).get("status", {}).get("queue") == {"waiting": 4, "inFlight": 0})

    await eventually(shown, "the queue in the status", 60, every=0.1)
    table = await governed.kubectl("get", "ark", "-o", "json")
    assert json.loads(table)["items"][0]["status"]["mode"] == "Static"


async def test_while_kedas_operator_hangs_people_and_fixed_pools_go_on(tmp_path: Path) -> None:
    """A cluster of its own: the others need their KEDA."""
    if not_ours():
        pytest.skip("a cluster of another kind has no KEDA that a test may stop")
    with ProcessCluster(tmp_path) as cluster:
        keda = cluster.state.pids["keda-operator"]
        async with (
            deployed(local(cluster.state)) as stack,
            with_operator(stack, **{"keda-silent-seconds": "20"}) as governed,
        ):
            pool = await make(governed, autoscaling={}, template=ASLEEP)
            fixed = await make(governed, "fixed", replicas=1, template=ASLEEP)
            await says(pool, "Autoscaling", "FollowsQueue")
            os.kill(keda, signal.SIGSTOP)
            try:
                message = await says(pool, "Autoscaling", "KedaDown")
                assert "KEDA's operator has not renewed its lease for 20 s: the pool keeps its size" in message
                await governed.kubectl("scale", "arkagent", "writer", "--replicas=3")
                await pool.reaches(3)
                await governed.kubectl("scale", "arkagent", "fixed", "--replicas=2")
                await fixed.reaches(2)
                patch = ("patch", "arkagent", "writer", "--type=merge", "-p", '{"spec": {"replicas": null}}')
                await governed.kubectl(*patch)
                await says(pool, "Autoscaling", "KedaDown")
                assert await pool.replicas() == 3, "KEDA held what there was"
            finally:
                os.kill(keda, signal.SIGCONT)
            await says(pool, "Autoscaling", "FollowsQueue")
