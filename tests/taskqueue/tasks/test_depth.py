"""A queue's depth (contract C2): undelivered + in flight, whatever was deleted, and never less than it is."""

from __future__ import annotations

import random

import pytest
from redis.exceptions import ResponseError

from ark_taskqueue import (
    Client,
    Consumer,
    NotAStream,
    Producer,
    QueueKeys,
    RedisUnavailable,
    connect,
    read_depth,
    read_depths,
)
from ark_taskqueue.redis.translation import from_response
from ark_taskqueue.tasks import measure
from hack.local.process import free_port
from hack.local.redis_server import RedisServer
from tests.taskqueue.moving_time import dead_workers, end_lease


async def add(client: Client, queue: QueueKeys, count: int) -> list[bytes]:
    return [await client.execute_command("XADD", queue.stream, "*", "prompt", "x") for _ in range(count)]


async def undelivered_by_hand(client: Client, queue: QueueKeys) -> int:
    [group] = await client.xinfo_groups(queue.stream)
    last = group["last-delivered-id"].decode()
    return len(await client.execute_command("XRANGE", queue.stream, f"({last}", "+"))


async def test_a_missing_stream_holds_nothing(each_client: Client, queue: QueueKeys) -> None:
    found = await read_depth(each_client, queue)
    assert (found.demand, found.length, found.exact, found.watch_after) == (0, 0, True, ("0-0",) * 3)


async def test_without_the_group_every_entry_waits(each_client: Client, queue: QueueKeys) -> None:
    await add(each_client, queue, 3)
    found = await read_depth(each_client, queue)
    assert (found.waiting, found.in_flight) == (3, 0)


async def test_waiting_and_in_flight_are_told_apart(each_client: Client, queue: QueueKeys) -> None:
    await add(each_client, queue, 6)
    worker = Consumer(each_client, queue, "w")
    held = await worker.claim(4)
    await worker.give_back(held[:1])
    await worker.fail(held[1], "boom")
    found = await read_depth(each_client, queue)
    assert (found.waiting, found.in_flight, found.demand) == (2 + 1 + 1, 2, 6)


async def test_the_oldest_waiting_task_is_the_one_given_back(each_client: Client, queue: QueueKeys) -> None:
    await each_client.execute_command("XADD", queue.stream, "1000-0", "prompt", "very old")
    await add(each_client, queue, 2)
    worker = Consumer(each_client, queue, "w")
    held = await worker.claim(2)
    assert (await read_depth(each_client, queue)).oldest_waiting_ms < 3_600_000
    await worker.give_back(held[:1])
    assert (await read_depth(each_client, queue)).oldest_waiting_ms > 3_600_000


async def test_an_unknown_lag_after_a_deletion_is_counted(each_client: Client, queue: QueueKeys) -> None:
    """XDEL of an undelivered entry makes Redis 7 answer NULL for the lag; KEDA's own scaler then reads -1."""
    ids = await add(each_client, queue, 10)
    worker = Consumer(each_client, queue, "w")
    await worker.claim(2)
    await each_client.execute_command("XDEL", queue.stream, ids[5], ids[7])
    found = await read_depth(each_client, queue)
    assert (found.waiting, found.in_flight, found.exact) == (6, 2, True)


async def test_an_unknown_lag_after_a_trim_is_counted(each_client: Client, queue: QueueKeys) -> None:
    await add(each_client, queue, 20)
    worker = Consumer(each_client, queue, "w")
    await worker.claim(2)
    await each_client.execute_command("XTRIM", queue.stream, "MAXLEN", 7)
    found = await read_depth(each_client, queue)
    assert (found.waiting, found.in_flight) == (7, 2)


async def test_old_entries_that_others_acknowledged_do_not_count(each_client: Client, queue: QueueKeys) -> None:
    ids = await add(each_client, queue, 5)
    worker = Consumer(each_client, queue, "w")
    await worker.claim(3)
    await each_client.execute_command("XACK", queue.stream, queue.group, *ids[:3])
    found = await read_depth(each_client, queue)
    assert (found.waiting, found.in_flight, found.length) == (2, 0, 5)


async def test_with_old_entries_on_both_sides_the_count_is_exact_or_says_that_it_is_not(
    each_client: Client, queue: QueueKeys, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More delivered entries than are counted, then more undelivered ones too."""
    monkeypatch.setattr(measure, "_PAGE", 10)
    monkeypatch.setattr(measure, "COUNT_LIMIT", 40)
    ids = await add(each_client, queue, 100)
    worker = Consumer(each_client, queue, "w")
    claimed = await worker.claim(60)
    await each_client.execute_command("XACK", queue.stream, queue.group, *[task.id for task in claimed])
    await each_client.execute_command("XDEL", queue.stream, ids[80], ids[81])  # lag unknown
    found = await read_depth(each_client, queue)
    assert (found.waiting, found.exact) == (38, True)
    await add(each_client, queue, 30)
    found = await read_depth(each_client, queue)
    # Redis 7.0 answers a lag again where it should not know one; then the depth is exact.
    assert found.waiting >= 68
    assert found.exact == (found.waiting == 68)


async def test_random_histories_are_counted_as_by_hand(each_client: Client, queue: QueueKeys) -> None:
    """Additions, deliveries, acknowledgements, deletions and trims in any order."""
    chance = random.Random(7)
    worker = Consumer(each_client, queue, "w")
    for history in range(30):
        await each_client.execute_command("DEL", queue.stream)
        await worker.claim(1)
        ids: list[bytes] = []
        for step in range(25):
            match chance.randrange(5):
                case 0 | 1:
                    ids += await add(each_client, queue, chance.randrange(1, 5))
                case 2:
                    await worker.claim(chance.randrange(1, 4))
                case 3 if ids:
                    await each_client.execute_command("XDEL", queue.stream, chance.choice(ids))
                case _ if ids:
                    if chance.random() < 0.3:
                        await each_client.execute_command("XTRIM", queue.stream, "MAXLEN", chance.randrange(8))
                    else:
                        await each_client.execute_command("XACK", queue.stream, queue.group, chance.choice(ids))
            found = await read_depth(each_client, queue)
            by_hand = await undelivered_by_hand(each_client, queue)
            pending = (await each_client.xpending(queue.stream, queue.group))["pending"]
            assert (found.waiting, found.in_flight) == (by_hand, pending), f"history {history}, step {step}"


async def test_a_watch_may_begin_where_a_reading_ended(each_client: Client, queue: QueueKeys) -> None:
    ids = await add(each_client, queue, 2)
    worker = Consumer(each_client, queue, "w")
    held = await worker.claim(2)
    assert (await read_depth(each_client, queue)).watch_after is None, "an active queue is not to be watched"
    await each_client.execute_command("XACK", queue.stream, queue.group, *ids)
    assert (await read_depth(each_client, queue)).watch_after == ("0-0", ids[-1].decode(), "0-0")
    [active] = await read_depths(each_client, [queue], [5])
    assert not isinstance(active, Exception)
    assert active.watch_after == ("0-0", ids[-1].decode(), "0-0")
    await each_client.execute_command("XDEL", queue.stream, *ids)
    assert (await read_depth(each_client, queue)).watch_after == ("0-0",) * 3
    assert held


async def test_one_unreadable_queue_does_not_keep_the_others_from_being_read(each_client: Client) -> None:
    queues = [QueueKeys.for_agent("default", name) for name in "abc"]
    await add(each_client, queues[0], 1)
    await each_client.execute_command("SET", queues[1].stream, "no stream")
    await add(each_client, queues[2], 2)
    first, second, third = await read_depths(each_client, queues)
    assert (first.demand, third.demand) == (1, 2)  # type: ignore[union-attr]
    assert isinstance(second, NotAStream)
    assert "ark:{default/b}:tasks is not a stream" in str(second)


async def test_reading_goes_on_after_redis_forgot_its_scripts(each_client: Client, queue: QueueKeys) -> None:
    await add(each_client, queue, 1)
    await read_depth(each_client, queue)
    await each_client.execute_command("SCRIPT", "FLUSH")
    assert (await read_depth(each_client, queue)).demand == 1


async def test_a_failed_read_is_an_error(queue: QueueKeys) -> None:
    client = connect(f"redis://127.0.0.1:{free_port()}")
    with pytest.raises(RedisUnavailable, match="cannot read queue depths"):
        await read_depth(client, queue)
    await client.aclose()


async def test_a_user_without_the_right_is_told_so(redis_server: RedisServer, queue: QueueKeys) -> None:
    redis_server.command("ACL", "SETUSER", "reader", "on", ">secret", "~other*", "+@all")
    try:
        client = connect(f"redis://reader:secret@127.0.0.1:{redis_server.port}")
        with pytest.raises(Exception, match=r"cannot read default/writer: .*(?i:permission|acl)"):
            await read_depth(client, queue)
        await client.aclose()
    finally:
        redis_server.command("ACL", "DELUSER", "reader")


async def test_the_depth_of_a_queue_with_an_expired_lease_stays_what_it_is(
    each_client: Client, queue: QueueKeys
) -> None:
    await add(each_client, queue, 1)
    worker = Consumer(each_client, queue, "w")
    [task] = await worker.claim(1)
    await end_lease(each_client, queue, task.id, 60)
    assert (await read_depth(each_client, queue)).demand == 1
    await worker.reclaim(interval_seconds=0)
    assert (await read_depth(each_client, queue)).waiting == 1


@pytest.mark.parametrize("written", ["abc", "nan", "inf", "-5", "0", "", "1e300"])
async def test_a_mean_service_time_that_is_no_time_is_not_passed_on(
    each_client: Client, queue: QueueKeys, written: str
) -> None:
    """A NaN would reach KEDA as 0 tasks."""
    await add(each_client, queue, 1)
    await each_client.execute_command("HSET", queue.stats, "service_mean_ms", written)
    assert (await read_depth(each_client, queue)).mean_service_ms is None


async def test_statistics_of_another_type_do_not_matter(each_client: Client, queue: QueueKeys) -> None:
    await add(each_client, queue, 1)
    await each_client.execute_command("SET", queue.stats, "x")
    assert (await read_depth(each_client, queue)).demand == 1


async def test_any_number_that_lua_takes_is_one_that_python_takes(each_client: Client, queue: QueueKeys) -> None:
    await add(each_client, queue, 1)
    await each_client.execute_command("HSET", queue.stats, "service_mean_ms", "0x10")
    assert (await read_depth(each_client, queue)).mean_service_ms == 16.0


async def test_a_queue_that_takes_long_to_count_is_bounded_and_keeps_no_other_waiting(
    each_client: Client, queue: QueueKeys, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(measure, "_COUNT_SECONDS", 0.0)
    monkeypatch.setattr(measure, "_PAGE", 5)
    ids = await add(each_client, queue, 40)
    await Consumer(each_client, queue, "w").claim(20)
    await each_client.execute_command("XACK", queue.stream, queue.group, *ids[:20])
    await each_client.execute_command("XDEL", queue.stream, ids[30])
    other = QueueKeys.for_agent("default", "other")
    await add(each_client, other, 2)
    bounded, quick = await read_depths(each_client, [queue, other])
    assert not isinstance(bounded, Exception)
    assert (bounded.exact, bounded.waiting >= 19) == (False, True)
    assert quick.demand == 2  # type: ignore[union-attr]


@pytest.mark.parametrize("code", ["BUSY x", "MISCONF x", "NOREPLICAS x", "UNBLOCKED x"])
def test_what_passes_is_told_from_what_does_not(code: str) -> None:
    assert isinstance(from_response(ResponseError(code), "read"), RedisUnavailable)
    assert not isinstance(from_response(ResponseError("ERR x"), "read"), RedisUnavailable)


async def test_pending_entries_whose_tasks_are_gone_are_counted(each_client: Client, queue: QueueKeys) -> None:
    """A stream that was trimmed below what was in flight kept its pool up for ever, and nothing said why."""
    producer, worker = Producer(each_client, queue), Consumer(each_client, queue, "w")
    ids = [(await producer.submit("x")).task_id for _ in range(5)]
    await worker.claim(3)
    assert (await read_depth(each_client, queue)).orphaned == 0
    await each_client.execute_command("XDEL", queue.stream, *ids[:2])
    depth = await read_depth(each_client, queue)
    assert (depth.orphaned, depth.in_flight, depth.waiting) == (2, 3, 2)
    await each_client.execute_command("XDEL", queue.stream, *ids[2:])
    depth = await read_depth(each_client, queue)
    assert (depth.orphaned, depth.demand) == (3, 3)
    await each_client.execute_command("XACK", queue.stream, queue.group, *ids[:3])
    assert (await read_depth(each_client, queue)).orphaned == 0


async def test_with_very_many_consumers_what_was_given_back_is_told_apart_too(
    each_client: Client, queue: QueueKeys
) -> None:
    await add(each_client, queue, 6)
    worker = Consumer(each_client, queue, "w")
    held = await worker.claim(4)
    await dead_workers(each_client, queue, 1200, 0)
    await worker.give_back(held[1:3])
    await worker.fail(held[3], "boom")
    found = await read_depth(each_client, queue)
    # The script takes the two tasks that nobody had claimed for the first two workers, and makes as many on top.
    assert (found.waiting, found.in_flight, found.demand) == (2 + 2 + 1, 1 + 1200, 6 + 1200)


async def test_twenty_thousand_consumers_are_not_listed_at_each_reading(client: Client, queue: QueueKeys) -> None:
    """Redis does nothing else meanwhile; compared with the listing, on the same server and side by side."""
    await Consumer(client, queue, "w").claim(1)
    await dead_workers(client, queue, 20_000, 0)

    async def busy(name: str) -> float:
        stats = await client.info("commandstats")
        return float(stats[f"cmdstat_{name}"]["usec_per_call"])

    await client.config_resetstat()
    for _ in range(5):
        await client.xpending(queue.stream, queue.group)
        assert (await read_depth(client, queue)).demand == 20_000
    stats = await client.info("commandstats")
    reading = next(name for name in ("evalsha_ro", "evalsha") if f"cmdstat_{name}" in stats)
    assert await busy(reading) < await busy("xpending") / 4
