"""A handler that blocks the event loop: leases go on, somebody notices, and in the end the process does."""

from __future__ import annotations

import time

import pytest
from structlog.testing import capture_logs

from ark_agent import Context
from ark_taskqueue import Client, Leases, Producer, QueueKeys
from tests.agent.test_containment import result_of
from tests.agent.working import working


def block_for_long(seconds: float) -> None:
    """Do what a library without asyncio does."""
    time.sleep(seconds)


async def handler(context: Context) -> str:
    seconds = float(context.task.fields.get("seconds", "0"))
    if seconds:
        block_for_long(seconds)
    return str(context.task.attempt)


@pytest.fixture(autouse=True)
def sooner(monkeypatch: pytest.MonkeyPatch) -> None:
    from ark_agent import upkeep

    monkeypatch.setattr(upkeep, "_BLOCKED_SECONDS", 0.5)
    monkeypatch.setattr(upkeep, "_LOOK_SECONDS", 0.1)


async def test_a_handler_that_blocks_for_longer_than_the_lease_runs_once_and_so_do_its_neighbours(
    client: Client, queue: QueueKeys
) -> None:
    producer = Producer(client, queue)
    slow = [await producer.submit("x", fields={"seconds": "2.5"}) for _ in range(2)]
    quick = [await producer.submit("x") for _ in range(3)]
    with capture_logs() as logs:
        async with working(client, queue, handler, leases=Leases(1.0)):
            for submission in (*slow, *quick):
                result = await result_of(client, queue, submission.task_id)
                assert (result.status, result.output) == ("completed", "1")
    named = [entry for entry in logs if entry["event"].startswith("a handler blocks the event loop")]
    assert named, "nobody noticed"
    assert any(place.startswith("block_for_long ") for place in named[0]["at"])
    assert named[0]["task"] == f"task {slow[0].task_id}"


async def test_what_blocks_for_longer_than_an_attempt_may_take_ends_the_process(
    client: Client, queue: QueueKeys
) -> None:
    ended: list[int] = []
    submission = await Producer(client, queue).submit("x", fields={"seconds": "3"})
    async with working(client, queue, handler, end=ended.append, longest_block_seconds=1.0):
        await result_of(client, queue, submission.task_id)
    assert ended[0] == 1


async def test_what_waits_blocks_nothing(client: Client, queue: QueueKeys) -> None:
    import asyncio

    async def waiting(_: Context) -> str:
        await asyncio.sleep(2)
        return ""

    with capture_logs() as logs:
        async with working(client, queue, waiting):
            await result_of(client, queue, (await Producer(client, queue).submit("x")).task_id)
    assert not [entry for entry in logs if "blocks" in entry["event"]]
