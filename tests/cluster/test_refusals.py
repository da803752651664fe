"""What a user sees of a trigger that the scaler refuses: its message in the ScaledObject's Ready condition."""

from __future__ import annotations

import pytest

from hack.cluster import manifests
from hack.cluster.manifests import Scaling
from tests.cluster.stack import Pool, Stack, make_pool
from tests.eventually import eventually

SCALING = Scaling(max_replicas=2, polling_seconds=5)


async def told(pool: Pool, message: str) -> None:
    """Wait until the ScaledObject is not ready and says why."""

    async def says_it() -> bool:
        condition = await pool.condition("Ready")
        return condition.get("status") == "False" and message in condition.get("message", "")

    try:
        await eventually(says_it, "the message", 60.0, every=0.2)
    except AssertionError as error:
        raise AssertionError(f"{message!r} is not in {await pool.condition('Ready')}") from error


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ({"tasksPerReplica": "many"}, "trigger metadata tasksPerReplica is 'many'"),
        ({"taskPerReplica": "5"}, "unknown key 'taskPerReplica'; did you mean 'tasksPerReplica'?"),
    ],
)
async def test_bad_metadata_is_named_in_the_ready_condition(
    stack: Stack, metadata: dict[str, str], message: str
) -> None:
    pool = await make_pool(stack, "writer", SCALING, metadata=metadata)
    await told(pool, message)
    assert await pool.replicas() == 0


async def test_a_scaled_object_that_asks_for_another_namespaces_queue_is_refused(stack: Stack) -> None:
    """Two namespaces with an agent of the same name use one scaler; each sees its own queue only."""
    neighbour = f"{stack.namespace}-b"
    await stack.apply(manifests.namespace(neighbour))
    try:
        other = Stack(stack.access, stack.api, neighbour, stack.redis, stack.redis_url, stack.scaler_address)
        pool = await make_pool(stack, "writer", SCALING)
        theirs = await make_pool(other, "writer", SCALING)
        thief = await make_pool(other, "thief", SCALING, metadata={"queue": f"{stack.namespace}/writer"})
        await pool.accepted()
        await theirs.accepted()
        await pool.submit([1.0])
        await pool.reaches(1, 10)
        await told(thief, f"namespace '{neighbour}' may not read the stream")
        assert (await theirs.replicas(), await thief.replicas()) == (0, 0)
        await theirs.submit([1.0])
        await theirs.reaches(1, 10)
        assert await thief.replicas() == 0
    finally:
        await stack.kubectl("delete", "namespace", neighbour, "--wait=false")
