"""What a worker may do with a task, and what it may not do any more."""

from __future__ import annotations

import asyncio

from ark_taskqueue import Client, Consumer, Leases, Outcome, Producer, QueueKeys, RetryPolicy, read_depth
from ark_taskqueue.tasks.reserved import BACKOFF, READY, SUSPECT
from tests.eventually import eventually
from tests.taskqueue.moving_time import dead_workers, end_backoff, end_lease, owner_of

LEASE = 60.0


async def submit(client: Client, queue: QueueKeys, count: int) -> list[str]:
    producer = Producer(client, queue)
    return [(await producer.submit(f"task {i}")).task_id for i in range(count)]


async def test_new_tasks_come_in_the_order_of_their_submission(each_client: Client, queue: QueueKeys) -> None:
    ids = await submit(each_client, queue, 5)
    worker = Consumer(each_client, queue, "w")
    assert [task.id for task in await worker.claim(3)] == ids[:3]
    assert [task.id for task in await worker.claim(9)] == ids[3:]
    assert await worker.claim(1) == []


async def test_completing_leaves_nothing_in_the_queue_and_counts_the_service_time(
    each_client: Client, queue: QueueKeys
) -> None:
    await submit(each_client, queue, 2)
    worker = Consumer(each_client, queue, "w")
    first, second = await worker.claim(2)
    assert await worker.complete(first, Outcome("a"), 1.0)
    assert await worker.complete(second, Outcome("b"), 2.0)
    depth = await read_depth(each_client, queue)
    assert (depth.waiting, depth.in_flight, depth.length, depth.mean_service_ms) == (0, 0, 0, 1500.0)


async def test_completing_again_after_a_lost_answer_is_no_second_completion(
    each_client: Client, queue: QueueKeys
) -> None:
    await submit(each_client, queue, 1)
    worker = Consumer(each_client, queue, "w")
    [task] = await worker.claim(1)
    assert await worker.complete(task, Outcome("once"), 1.0)
    assert await worker.complete(task, Outcome("twice"), 9.0)
    result = await Producer(each_client, queue).result(task.id)
    assert result is not None
    assert result.output == "once"
    assert (await each_client.execute_command("HGET", queue.stats, "completed")) == b"1"


async def test_a_given_back_task_keeps_its_place_and_is_no_attempt(each_client: Client, queue: QueueKeys) -> None:
    ids = await submit(each_client, queue, 4)
    one, two = Consumer(each_client, queue, "one"), Consumer(each_client, queue, "two")
    held = await one.claim(3)
    assert await one.give_back([held[2], held[0]]) == set()
    claimed = await two.claim(9)
    assert [task.id for task in claimed] == [ids[0], ids[2], ids[3]]
    assert [task.attempt for task in claimed] == [1, 1, 1]


async def test_a_failed_task_rests_and_comes_back_as_the_next_attempt(each_client: Client, queue: QueueKeys) -> None:
    [task_id] = await submit(each_client, queue, 1)
    worker = Consumer(each_client, queue, "w")
    [task] = await worker.claim(1)
    assert (await worker.fail(task, "boom")).outcome == "retry"
    assert await owner_of(each_client, queue, task_id) == BACKOFF
    await worker.reclaim(interval_seconds=0)
    assert await worker.claim(1) == [], "it came back before its backoff was over"
    await end_backoff(each_client, queue, task_id)
    await worker.reclaim(interval_seconds=0)
    assert await owner_of(each_client, queue, task_id) == READY
    [again] = await worker.claim(1)
    assert (again.id, again.attempt) == (task_id, 2)


async def test_a_backoff_may_be_longer_than_the_lease(each_client: Client, queue: QueueKeys) -> None:
    [task_id] = await submit(each_client, queue, 1)
    worker = Consumer(
        each_client,
        queue,
        "w",
        leases=Leases(seconds=0.001),
        retries=RetryPolicy(first_backoff=3600, longest_backoff=3600),
    )
    [task] = await worker.claim(1)
    await worker.fail(task, "boom")
    await asyncio.sleep(0.01)  # longer than the lease
    await worker.reclaim(interval_seconds=0)
    assert await owner_of(each_client, queue, task_id) == BACKOFF


async def test_after_its_last_failure_a_task_is_a_dead_letter_with_its_error(
    each_client: Client, queue: QueueKeys
) -> None:
    [task_id] = await submit(each_client, queue, 1)
    worker = Consumer(each_client, queue, "w", retries=RetryPolicy(max_failures=2))
    assert (await worker.fail((await worker.claim(1))[0], "first")).outcome == "retry"
    await end_backoff(each_client, queue, task_id)
    await worker.reclaim(interval_seconds=0)
    assert (await worker.fail((await worker.claim(1))[0], "second")).outcome == "dead"
    assert (await read_depth(each_client, queue)).demand == 0
    result = await Producer(each_client, queue).result(task_id)
    assert result is not None
    assert (result.status, result.error, result.attempts) == ("dead", "second", 2)


async def test_the_tasks_of_a_dead_worker_go_to_another_after_the_lease(each_client: Client, queue: QueueKeys) -> None:
    ids = await submit(each_client, queue, 2)
    dead, alive = Consumer(each_client, queue, "dead"), Consumer(each_client, queue, "alive")
    await dead.claim(2)
    await alive.reclaim(interval_seconds=0)
    assert await alive.claim(2) == [], "taken before the lease was over"
    await end_lease(each_client, queue, ids[0], LEASE)
    reclaimed = await alive.reclaim(interval_seconds=0)
    assert reclaimed is not None
    assert reclaimed.expired == 1
    [task] = await alive.claim(2)
    assert (task.id, task.attempt) == (ids[0], 2)


async def test_a_renewed_task_is_not_given_to_another(each_client: Client, queue: QueueKeys) -> None:
    [task_id] = await submit(each_client, queue, 1)
    slow, other = Consumer(each_client, queue, "slow"), Consumer(each_client, queue, "other")
    held = await slow.claim(1)
    for _ in range(5):
        await end_lease(each_client, queue, task_id, LEASE * 0.9)
        assert await slow.renew(held) == []
        await other.reclaim(interval_seconds=0)
        assert await other.claim(1) == []
    assert held[0].delivery == 1
    assert await slow.complete(held[0], Outcome("late"), 300)


async def test_without_an_interval_every_call_looks_also_those_of_one_millisecond(
    each_client: Client, queue: QueueKeys
) -> None:
    await submit(each_client, queue, 1)
    worker = Consumer(each_client, queue, "w")
    assert len(await worker.claim(1)) == 1
    await worker.reclaim(interval_seconds=0)
    looked = await asyncio.gather(*(worker.reclaim(interval_seconds=0) for _ in range(100)))
    assert None not in looked


async def test_a_task_that_kills_its_workers_becomes_a_dead_letter(each_client: Client, queue: QueueKeys) -> None:
    [task_id] = await submit(each_client, queue, 1)
    worker = Consumer(each_client, queue, "w", retries=RetryPolicy(max_failures=2))
    for _ in range(2):
        assert len(await worker.claim(1)) == 1
        await end_lease(each_client, queue, task_id, LEASE)
        await worker.reclaim(interval_seconds=0)
    assert await worker.claim(1) == []
    result = await Producer(each_client, queue).result(task_id)
    assert result is not None
    assert result.status == "dead"
    assert "its worker died" in result.error


async def test_who_lost_a_task_can_do_nothing_with_it(each_client: Client, queue: QueueKeys) -> None:
    [task_id] = await submit(each_client, queue, 1)
    loser, holder = Consumer(each_client, queue, "loser"), Consumer(each_client, queue, "holder")
    lost = await loser.claim(1)
    await end_lease(each_client, queue, task_id, LEASE)
    await holder.reclaim(interval_seconds=0)
    held = await holder.claim(1)
    assert await loser.renew(lost) == lost
    assert not await loser.complete(lost[0], Outcome("stale"), 1)
    assert (await loser.fail(lost[0], "stale")).outcome == "lost"
    assert await loser.give_back(lost) == {task_id}
    assert await Producer(each_client, queue).result(task_id) is None
    assert await holder.complete(held[0], Outcome("good"), 1)
    assert not await loser.complete(lost[0], Outcome("stale"), 1)
    result = await Producer(each_client, queue).result(task_id)
    assert result is not None
    assert result.output == "good"


async def test_a_worker_that_lost_a_task_and_was_given_it_again_cannot_finish_the_first_delivery(
    each_client: Client, queue: QueueKeys
) -> None:
    [task_id] = await submit(each_client, queue, 1)
    worker = Consumer(each_client, queue, "w")
    [first] = await worker.claim(1)
    await end_lease(each_client, queue, task_id, LEASE)
    await worker.reclaim(interval_seconds=0)
    [second] = await worker.claim(1)
    assert not await worker.complete(first, Outcome("first"), 1)
    assert await worker.complete(second, Outcome("second"), 1)


async def test_a_retiring_worker_gives_back_what_it_never_heard_of(each_client: Client, queue: QueueKeys) -> None:
    await submit(each_client, queue, 3)
    worker, other = Consumer(each_client, queue, "w"), Consumer(each_client, queue, "other")
    await worker.claim(3)  # the answer is lost
    assert await worker.retire() == 3
    consumers = await each_client.xinfo_consumers(queue.stream, queue.group)
    assert "w" not in {consumer["name"].decode() for consumer in consumers}
    assert [task.attempt for task in await other.claim(9)] == [1, 1, 1]


async def test_a_deleted_entry_is_passed_over(each_client: Client, queue: QueueKeys) -> None:
    ids = await submit(each_client, queue, 3)
    worker = Consumer(each_client, queue, "w")
    held = await worker.claim(2)
    await worker.give_back(held)
    await each_client.execute_command("XDEL", queue.stream, ids[0])
    assert [task.id for task in await worker.claim(9)] == ids[1:]
    assert await owner_of(each_client, queue, ids[0]) is None


async def test_the_group_is_made_again_after_everything_was_deleted(each_client: Client, queue: QueueKeys) -> None:
    await submit(each_client, queue, 1)
    worker = Consumer(each_client, queue, "w")
    held = await worker.claim(1)
    await each_client.execute_command("FLUSHALL")
    assert await worker.renew(held) == held
    assert not await worker.complete(held[0], Outcome(""), 1)
    assert await worker.reclaim(interval_seconds=0) is not None
    assert await worker.wait_for_new(1, 0.01) == []
    assert await worker.retire() == 0
    await submit(each_client, queue, 1)
    assert len(await worker.claim(1)) == 1


async def test_waiting_ends_with_a_new_task_or_with_the_time(each_client: Client, queue: QueueKeys) -> None:
    worker = Consumer(each_client, queue, "w")
    assert await worker.claim(1) == []
    assert await worker.wait_for_new(1, 0.01) == []
    waiting = asyncio.create_task(worker.wait_for_new(1, 4.0))
    [task_id] = await submit(each_client, queue, 1)
    async with asyncio.timeout(30):
        [task] = await waiting
    assert (task.id, task.delivery) == (task_id, 1)
    assert await worker.complete(task, Outcome(""), 0)


async def test_reclaiming_is_done_by_one_worker_an_interval(client: Client, queue: QueueKeys) -> None:
    workers = [Consumer(client, queue, f"w{i}") for i in range(5)]
    await submit(client, queue, 1)
    done = [await worker.reclaim(interval_seconds=60) for worker in workers]
    assert sum(reclaimed is not None for reclaimed in done) == 1


async def test_with_very_many_dead_workers_the_tasks_of_all_come_back_some_at_a_time(
    each_client: Client, queue: QueueKeys
) -> None:
    worker = Consumer(each_client, queue, "alive")
    await worker.claim(1)
    await dead_workers(each_client, queue, 2300, LEASE)
    expired: list[int] = []

    async def all_are_back() -> bool:
        reclaimed = await worker.reclaim(interval_seconds=0)
        expired.extend([reclaimed.expired] if reclaimed is not None else [])
        return sum(expired) == 2300

    await eventually(all_are_back, "the tasks of all dead workers", 30, every=0.05)
    assert expired == [1000, 1000, 300]
    assert (await read_depth(each_client, queue)).waiting >= 500
    [task] = await worker.claim(5)
    assert task.alone, "whatever killed its worker may kill another"


async def test_two_tasks_that_kill_their_worker_one_after_the_other_are_both_found_out(
    each_client: Client, queue: QueueKeys
) -> None:
    """A kubelet starts the container again under the same name: by the end of the leases it has died with each."""
    ids = await submit(each_client, queue, 2)
    other, restarted = Consumer(each_client, queue, "other"), Consumer(each_client, queue, "w")
    await restarted.claim(2)
    for task_id in ids:
        await end_lease(each_client, queue, task_id, LEASE)
    await other.reclaim(interval_seconds=0)
    for _ in range(2):
        [task] = await restarted.claim(1)
        assert task.alone
        # The next one takes a suspect though it seems to hold the one before: that was left long enough.
        await each_client.execute_command("EVAL", _AGE, 1, queue.stream, queue.group, SUSPECT)
    for task_id in ids:
        await end_lease(each_client, queue, task_id, LEASE)
    reclaimed = await other.reclaim(interval_seconds=0)
    assert reclaimed is not None
    assert reclaimed.expired == 2
    for _ in range(2):
        [task] = await Consumer(each_client, queue, f"new {_}").claim(5)
        assert task.attempt == 2, "its death is an attempt"


_AGE = """
for _, entry in ipairs(redis.call('XPENDING', KEYS[1], ARGV[1], '-', '+', 10, ARGV[2])) do
  redis.call('XCLAIM', KEYS[1], ARGV[1], ARGV[2], 0, entry[1], 'IDLE', 60000, 'JUSTID')
end
"""


async def test_a_task_that_was_done_without_the_llm_proves_nothing_of_those_that_it_refuses(
    client: Client, queue: QueueKeys
) -> None:
    await submit(client, queue, 2)
    worker = Consumer(client, queue, "w", retries=RetryPolicy(max_failures=1))
    [bad, cached] = await worker.claim(2)
    assert (await worker.refuse(bad, "401")).outcome == "refused"
    await worker.complete(cached, Outcome("x"), 0, answered=False)
    [bad] = await worker.claim(1)
    assert (await worker.refuse(bad, "401")).outcome == "refused"
    await submit(client, queue, 1)
    [good] = await worker.claim(1, refused=False)
    await worker.complete(good, Outcome("x"), 0, answered=True)
    [bad] = await worker.claim(1)
    assert (await worker.refuse(bad, "401")).outcome == "dead"
