"""The record of a queue's demand, on every server that is supported."""

from __future__ import annotations

import pytest

from ark_taskqueue import (
    Client,
    Consumer,
    DemandSpan,
    Outcome,
    Producer,
    QueueKeys,
    RedisRefused,
    read_demand,
    read_recent_demand,
)

MINUTE = 60
DAY = 24 * 3600


async def looked(client: Client, queue: QueueKeys, seconds_ago: float) -> None:
    """Make it so that a worker looked last so long ago, and saw nothing yet."""
    now = await now_of(client)
    await client.execute_command("HSETNX", queue.stats, "seen", 0)
    await client.execute_command("HSET", queue.stats, "reclaimed_at_ms", round((now - seconds_ago) * 1000))


async def now_of(client: Client) -> float:
    seconds, microseconds = await client.time()
    return float(seconds) + float(microseconds) / 1e6


async def look(client: Client, queue: QueueKeys, record_seconds: float = DAY) -> list[DemandSpan]:
    await Consumer(client, queue, "looks", record_seconds=record_seconds).reclaim(interval_seconds=0)
    return await read_demand(client, queue)


def arrivals(record: list[DemandSpan]) -> int:
    return sum(span.arrivals for span in record)


async def test_what_arrived_worked_and_waited_since_the_last_look_is_on_record(
    each_client: Client, queue: QueueKeys
) -> None:
    producer, worker = Producer(each_client, queue), Consumer(each_client, queue, "me")
    for _ in range(5):
        await producer.submit("x")
    await each_client.execute_command("XADD", queue.stream, "*", "prompt", "of another producer")
    [first, *_] = await worker.claim(3)
    await worker.complete(first, Outcome("done"), 0.1)
    await looked(each_client, queue, 2.0)
    record = await look(each_client, queue)
    assert arrivals(record) == 6, "one is done, two are worked on, three wait"
    assert sum(span.busy_seconds for span in record) == pytest.approx(4.0, abs=0.5)
    assert sum(span.waiting_seconds for span in record) == pytest.approx(6.0, abs=0.5)
    now = await now_of(each_client)
    assert all(span.at % 10 == 0 and now - MINUTE < span.at <= now for span in record)


async def test_a_task_counts_once_however_often_it_is_looked_at(each_client: Client, queue: QueueKeys) -> None:
    worker, producer = Consumer(each_client, queue, "me"), Producer(each_client, queue)
    await producer.submit("x")
    [task] = await worker.claim(1)
    assert arrivals(await look(each_client, queue)) == 1
    await worker.give_back([task])
    assert arrivals(await look(each_client, queue)) == 1
    [task] = await worker.claim(1)
    await worker.fail(task, "broken", final=True)
    assert arrivals(await look(each_client, queue)) == 1
    await producer.submit("y")
    await each_client.execute_command("XTRIM", queue.stream, "MAXLEN", 0)
    assert arrivals(await look(each_client, queue)) == 1, "somebody removed one that nobody had seen"


async def test_tasks_that_gathered_while_no_worker_ran_are_spread_over_the_time_that_they_came_in(
    each_client: Client, queue: QueueKeys
) -> None:
    await Consumer(each_client, queue, "me").claim(1)
    now = await now_of(each_client)
    for number in range(30):
        await each_client.execute_command(
            "XADD", queue.stream, f"{round(now * 1000) - 30_000 + number}-1", "prompt", "x"
        )
    await looked(each_client, queue, 7200.0)
    record = await look(each_client, queue)
    assert arrivals(record) == 30
    assert record[-1].at - record[0].at in (20, 30), "from the oldest task on, not from the last look"
    assert max(span.arrivals for span in record) <= 11
    assert sum(span.waiting_seconds for span in record) == pytest.approx(30 * 30.0, rel=0.05)


async def test_what_a_queue_did_before_there_was_a_record_does_not_count(each_client: Client, queue: QueueKeys) -> None:
    await Producer(each_client, queue).submit("x")
    await Consumer(each_client, queue, "me").claim(1)
    now = await now_of(each_client)
    await each_client.execute_command(
        "HSET", queue.stats, "reclaimed_at_ms", round(now * 1000) - 1000, "completed", 1_000_000, "dead", 17
    )
    assert arrivals(await look(each_client, queue)) == 1


async def test_time_without_tasks_takes_no_room(each_client: Client, queue: QueueKeys) -> None:
    await Consumer(each_client, queue, "me").claim(1)
    for _ in range(3):
        assert await look(each_client, queue) == []
    assert await each_client.exists(queue.demand) == 0


async def test_minutes_older_than_a_day_go_and_the_record_ends_by_itself(each_client: Client, queue: QueueKeys) -> None:
    minute = int(await now_of(each_client)) // MINUTE
    old = [minute - 2000, minute - 1441, minute - 1439, minute - 1]
    await fill(each_client, queue, old)
    await Producer(each_client, queue).submit("x")
    await Consumer(each_client, queue, "me").claim(1)
    record = await look(each_client, queue)
    assert [span.at // MINUTE for span in record if span.arrivals == 7] == [minute - 1439, minute - 1]
    assert 0 < await each_client.pttl(queue.demand) <= DAY * 1000


async def test_a_part_of_the_record_can_be_read(each_client: Client, queue: QueueKeys) -> None:
    minute = int(await now_of(each_client)) // MINUTE
    await fill(each_client, queue, range(minute - 500, minute))
    assert len(await read_demand(each_client, queue)) == 500
    assert len(await read_demand(each_client, queue, since=(minute - 3) * MINUTE + 30.0)) == 3


async def test_who_wants_no_record_has_none(each_client: Client, queue: QueueKeys) -> None:
    await Producer(each_client, queue).submit("x")
    await Consumer(each_client, queue, "me").claim(1)
    assert await look(each_client, queue, record_seconds=0) == []


async def test_a_key_that_somebody_else_wrote_keeps_no_task_from_coming_back(
    each_client: Client, queue: QueueKeys
) -> None:
    await each_client.execute_command("SET", queue.demand, "no list")
    await Producer(each_client, queue).submit("x")
    worker = Consumer(each_client, queue, "me")
    await worker.claim(1)
    assert await worker.reclaim(interval_seconds=0) is not None
    with pytest.raises(RedisRefused, match="demand on"):
        await read_demand(each_client, queue)


_FILL = "for _, m in ipairs(ARGV) do redis.call('RPUSH', KEYS[1], cmsgpack.pack({tonumber(m), 7, 10, 0})) end"


async def fill(client: Client, queue: QueueKeys, minutes: list[int] | range) -> None:
    """Write minutes with one span each, in which seven tasks arrived."""
    await client.execute_command("EVAL", _FILL, 1, queue.demand, *minutes)


async def record(client: Client, queue: QueueKeys, minutes: range, tenths: int) -> None:
    """Put minutes on record, counted from now, in each span of which slots were busy for so many tenths of a second."""
    this = int(await now_of(client)) // MINUTE
    spans = ", ".join(["1", str(tenths), "0"] * 6)
    script = f"redis.call('RPUSH', KEYS[1], cmsgpack.pack({{tonumber(ARGV[1]), {spans}}}))"
    for minute in minutes:
        await client.execute_command("EVAL", script, 1, queue.demand, this + minute)


async def test_the_last_spans_are_read_with_those_that_had_no_tasks(each_client: Client, queue: QueueKeys) -> None:
    await record(each_client, queue, range(-30, -20), 10)
    await record(each_client, queue, range(-5, 1), 70)
    before = await now_of(each_client)
    [found] = await read_recent_demand(each_client, [(queue, 600)])
    assert isinstance(found, list)
    assert [span.at for span in found] == list(range(found[0].at, found[0].at + 600, 10))
    assert before - 10 < found[-1].at + 10 <= await now_of(each_client), "the span that is now is not among them"
    assert {span.busy_seconds for span in found[-24:]} == {7.0}
    assert {span.busy_seconds for span in found[:24]} == {0.0}


async def test_of_many_records_one_that_cannot_be_read_keeps_none_of_the_others(
    each_client: Client, queue: QueueKeys
) -> None:
    other = QueueKeys.for_agent("default", "other")
    await each_client.set(other.demand, "no list")
    await record(each_client, queue, range(-3, 1), 20)
    broken, sound, empty = await read_recent_demand(
        each_client, [(other, 60), (queue, 60), (QueueKeys.for_agent("default", "never"), 60)]
    )
    assert isinstance(broken, RedisRefused)
    assert isinstance(sound, list)
    assert [span.busy_seconds for span in sound] == [2.0] * 6
    assert isinstance(empty, list)
    assert [span.busy_seconds for span in empty] == [0.0] * 6


@pytest.mark.parametrize(
    "entry",
    [
        "5",
        "'text'",
        "{}",
        "{1, 2}",
        "{1, 'a', 3, 4}",
        "{1, -2, 3, 4}",
        "{1, 1e15, 3, 4}",
        "{1, {2}, 3, 4}",
        "{1" + ", 2, 3, 4" * 7 + "}",
    ],
)
async def test_an_entry_that_is_no_minute_is_refused_by_name(each_client: Client, queue: QueueKeys, entry: str) -> None:
    await record(each_client, queue, range(-3, 1), 20)
    await each_client.execute_command(
        "EVAL", f"return redis.call('RPUSH', KEYS[1], cmsgpack.pack({entry}))", 1, queue.demand
    )
    with pytest.raises(RedisRefused, match=r"an entry that is no minute: delete ark:"):
        await read_demand(each_client, queue)
    [broken] = await read_recent_demand(each_client, [(queue, 60)])
    assert isinstance(broken, RedisRefused)
