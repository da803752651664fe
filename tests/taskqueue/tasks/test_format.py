"""What a later version has stored is refused by name, and left as it is."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest

from ark_taskqueue import (
    Budget,
    Client,
    Consumer,
    DeadLetters,
    Outcome,
    Priority,
    Producer,
    QueueKeys,
    RedisRefused,
    TokenLedger,
    UnknownFormat,
    read_depth,
    read_depths,
    read_usages,
)

BUDGET = Budget(daily=1000, per_call=100)
Act = Callable[[Client, QueueKeys], Awaitable[object]]
ACTS: dict[str, Act] = {
    "claim": lambda client, queue: Consumer(client, queue, "w").claim(1),
    "submit": lambda client, queue: Producer(client, queue).submit("x"),
    "submit once": lambda client, queue: Producer(client, queue).submit("x", idempotency_key="k"),
    "depth": read_depth,
    "reclaim": lambda client, queue: Consumer(client, queue, "w").reclaim(),
    "requeue": lambda client, queue: DeadLetters(client, queue).requeue_all(),
    "usage": lambda client, queue: TokenLedger(client, queue).usage(BUDGET),
}
"""Whatever takes up something new, or reads what others decide by."""


async def stored(client: Client, queue: QueueKeys) -> dict[bytes, bytes]:
    keys = sorted(await client.execute_command("KEYS", f"{queue.base}:*"))
    return {key: await client.execute_command("DUMP", key) for key in keys}


async def a_queue_in_use(client: Client, queue: QueueKeys) -> None:
    """Leave a waiting task, one whose worker died, a dead letter, and tokens spent and reserved."""
    producer, consumer, ledger = Producer(client, queue), Consumer(client, queue, "gone"), TokenLedger(client, queue)
    await producer.submit("dies")
    [task] = await consumer.claim(1)
    await consumer.fail(task, "broken", final=True)
    await ledger.settle(await ledger.reserve(BUDGET, 60), 1, 2)
    await ledger.reserve(BUDGET, 60)
    await producer.submit("held")
    assert len(await consumer.claim(1)) == 1
    await producer.submit("waits")


async def test_the_first_worker_writes_the_number_of_the_format(each_client: Client, queue: QueueKeys) -> None:
    assert await Consumer(each_client, queue, "w").claim(1) == []
    assert await each_client.execute_command("HGET", queue.stats, "format") == b"1"
    await Producer(each_client, queue).submit("x")
    assert len(await Consumer(each_client, queue, "w").claim(1)) == 1


@pytest.mark.parametrize("priority", ["high", "low"])
async def test_a_task_with_a_priority_keeps_versions_away_that_know_none(
    each_client: Client, queue: QueueKeys, priority: Priority
) -> None:
    await Producer(each_client, queue).submit("x", priority=priority)
    assert await each_client.execute_command("HGET", queue.stats, "format") == b"2"


@pytest.mark.parametrize("worker_was_there", [True, False])
async def test_so_does_one_that_was_added_without_the_library(
    each_client: Client, queue: QueueKeys, worker_was_there: bool
) -> None:
    if worker_was_there:
        assert await Consumer(each_client, queue, "w").claim(1) == []
    await each_client.execute_command("XADD", queue.stream_of("high"), "*", "prompt", "x")
    assert len(await Consumer(each_client, queue, "w").claim(1)) == 1
    assert await each_client.execute_command("HGET", queue.stats, "format") == b"2"


async def test_a_queue_without_a_number_has_the_first_format(each_client: Client, queue: QueueKeys) -> None:
    await each_client.execute_command("XGROUP", "CREATE", queue.stream, queue.group, "0", "MKSTREAM")
    await Producer(each_client, queue).submit("x", idempotency_key="k")
    assert (await read_depth(each_client, queue)).demand == 1
    assert len(await Consumer(each_client, queue, "w").claim(1)) == 1


@pytest.mark.parametrize("act", ACTS)
@pytest.mark.parametrize(
    ("number", "said"), [("3", "3"), ("1e3", "1000"), ("0", "0"), ("1.5", "1.5"), ("x", "unknown")]
)
async def test_a_later_format_is_refused_by_name(
    each_client: Client, queue: QueueKeys, act: str, number: str, said: str
) -> None:
    await a_queue_in_use(each_client, queue)
    await each_client.execute_command("HSET", queue.stats, "format", number)
    before = await stored(each_client, queue)
    with pytest.raises(UnknownFormat, match=rf"stored in format {said}, and .* up to 2: upgrade it") as refused:
        await ACTS[act](each_client, queue)
    assert queue.name in str(refused.value)
    assert isinstance(refused.value, RedisRefused), "not an outage: trying again does not help"
    assert await stored(each_client, queue) == before


async def test_a_queue_of_a_later_format_keeps_no_other_from_being_read(each_client: Client, queue: QueueKeys) -> None:
    other = QueueKeys.for_agent("default", "other")
    await Producer(each_client, other).submit("x")
    await each_client.execute_command("HSET", queue.stats, "format", "3")
    refused, depth = await read_depths(each_client, [queue, other])
    assert isinstance(refused, UnknownFormat)
    assert queue.name in str(refused)
    assert not isinstance(depth, Exception)
    assert depth.demand == 1


async def test_a_budget_of_a_later_format_keeps_no_other_from_being_read(each_client: Client, queue: QueueKeys) -> None:
    await each_client.execute_command("HSET", queue.stats, "format", "3")
    refused, usage = await read_usages(
        each_client, [(queue, BUDGET), (QueueKeys.for_agent("default", "other"), BUDGET)]
    )
    assert isinstance(refused, UnknownFormat)
    assert queue.name in str(refused)
    assert not isinstance(usage, Exception)
    assert usage.total == 0


async def test_a_worker_finishes_what_it_holds_after_a_later_version_has_begun(
    each_client: Client, queue: QueueKeys
) -> None:
    consumer, ledger = Consumer(each_client, queue, "w"), TokenLedger(each_client, queue)
    for number in range(4):
        await Producer(each_client, queue).submit(str(number))
    done, failed, returned, left = await consumer.claim(4)
    call = await ledger.reserve(BUDGET, 60)
    await each_client.execute_command("HSET", queue.stats, "format", "3")
    assert await consumer.renew([done, failed, returned, left]) == []
    assert await ledger.settle(call, 1, 2)
    assert await ledger.settle(await ledger.reserve(BUDGET, 60), 1, 2), "a task may need a second call"
    assert await consumer.complete(done, Outcome("y"), 0.1)
    await consumer.fail(failed, "broken")
    assert await consumer.give_back([returned]) == set()
    assert await consumer.retire() == 1
