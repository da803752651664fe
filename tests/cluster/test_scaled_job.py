"""KEDA's other kind of scaling: a Job for each task, whichever strategy counts the Jobs that are there."""

from __future__ import annotations

from typing import Any

import pytest

from ark_taskqueue import QueueKeys
from hack.cluster import manifests
from hack.cluster.api import Resource
from hack.cluster.manifests import Object
from tests.cluster.stack import Pool, Stack
from tests.eventually import eventually

SCALED_JOBS = Resource("keda.sh/v1alpha1", "scaledjobs")
JOBS = Resource("batch/v1", "jobs")
TASKS = 5
MOST = 40
ONE_TASK = """
import asyncio, os, pathlib
from ark_taskqueue import Consumer, Outcome, QueueKeys, connect

async def main():
    client = connect(os.environ["AGENT_REDIS"])
    consumer = Consumer(client, QueueKeys.for_agent(*os.environ["AGENT_QUEUE"].split("/")), os.environ["NAME"])
    tasks = await consumer.claim(1)
    pathlib.Path(os.environ["BEGAN"]).touch()
    while not await client.exists("end"):
        await consumer.renew(tasks)
        await asyncio.sleep(0.1)
    for task in tasks:
        await consumer.complete(task, Outcome("done"), 0.1)
    await client.aclose()

asyncio.run(main())
"""
"""Takes one task, and keeps it until it is told to end."""


def scaled_job(stack: Stack, strategy: Object, tasks: str) -> Object:
    """Return a ScaledJob whose Pods are ready as soon as they have looked for a task."""
    container = {
        "name": "job",
        "image": manifests.IMAGE,
        "command": ["python", "-c", ONE_TASK],
        "env": [
            {"name": "NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
            {"name": "BEGAN", "value": "/state/began"},
            {"name": "AGENT_REDIS", "value": stack.redis_url},
            {"name": "AGENT_QUEUE", "value": f"{stack.namespace}/writer"},
        ],
        "volumeMounts": [{"name": "state", "mountPath": "/state"}],
        "readinessProbe": {
            "exec": {"command": ["test", "-e", "/state/began"]},
            "periodSeconds": 1,
            "timeoutSeconds": 10,
        },
    }
    pod = {"restartPolicy": "OnFailure", "containers": [container], "volumes": [{"name": "state", "emptyDir": {}}]}
    trigger = manifests.ark_trigger(
        stack.scaler_address, queue=f"{stack.namespace}/writer", tasks=tasks, tasksPerReplica="1"
    )
    return {
        "apiVersion": "keda.sh/v1alpha1",
        "kind": "ScaledJob",
        "metadata": {"name": "writer", "namespace": stack.namespace},
        "spec": {
            "jobTargetRef": {"template": {"spec": pod}, "backoffLimit": 5},
            "pollingInterval": 4,
            "maxReplicaCount": MOST,
            "scalingStrategy": strategy,
            "triggers": [{**trigger, "type": "external"}],
        },
    }


@pytest.mark.timeout(400)
@pytest.mark.parametrize(
    ("strategy", "tasks"),
    [
        ({"strategy": "default"}, "all"),
        ({"strategy": "accurate", "pendingPodConditions": ["Ready"]}, "waiting"),
        ({"strategy": "eager", "pendingPodConditions": ["Ready"]}, "waiting"),
    ],
    ids=lambda value: value["strategy"] if isinstance(value, dict) else None,
)
async def test_tasks_in_flight_start_no_further_jobs(stack: Stack, strategy: Object, tasks: str) -> None:
    pool = Pool(stack, "writer")
    ids = await pool.submit([0.1] * TASKS)
    await stack.apply(scaled_job(stack, strategy, tasks))

    async def status() -> Any:
        return (await stack.api.get(SCALED_JOBS.path(stack.namespace, "writer"))).get("status") or {}

    async def began() -> bool:
        groups = await stack.redis.xinfo_groups(QueueKeys.for_agent(stack.namespace, "writer").stream)
        jobs = (await stack.api.get(JOBS.path(stack.namespace)))["items"]
        ready = sum(job.get("status", {}).get("ready") or 0 for job in jobs)
        return bool(groups) and groups[0]["pending"] == TASKS and ready >= TASKS

    await eventually(began, "a Job for each task, and its Pod's readiness", 90, every=0.2)
    looks = set[str]()

    async def looked_again() -> bool:
        """KEDA says when it last saw demand, or that it sees none: three times, with all tasks in flight."""
        now = await status()
        active = {one["type"]: one["status"] for one in now.get("conditions", [])}.get("Active")
        looks.add(now.get("lastActiveTime", ""))
        return active == "False" if tasks == "waiting" else len(looks) > 3

    await eventually(looked_again, "KEDA's look at tasks in flight", 60, every=0.2)
    await stack.redis.set("end", 1)
    assert [result.status for result in await pool.results(ids, 60)] == ["completed"] * TASKS
    jobs = len((await stack.api.get(JOBS.path(stack.namespace)))["items"])
    if strategy["strategy"] == "eager":
        assert TASKS <= jobs < MOST, "it starts further Jobs until the first ones have their tasks, but no more then"
    else:  # KEDA may look before it sees the Jobs that it has made
        assert TASKS <= jobs <= 2 * TASKS
