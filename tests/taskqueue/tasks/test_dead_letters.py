"""Dead letters and their requeue."""

from __future__ import annotations

import asyncio

from ark_taskqueue import (
    Client,
    Consumer,
    Counts,
    DeadLetters,
    LettersKept,
    Producer,
    QueueKeys,
    RetryPolicy,
    read_counts,
)


async def bury(client: Client, queue: QueueKeys, prompts: list[str]) -> None:
    worker = Consumer(client, queue, "w", retries=RetryPolicy(max_failures=1))
    for prompt in prompts:
        await Producer(client, queue).submit(prompt, fields={"model": "m"})
        assert (await worker.fail((await worker.claim(1))[0], f"cannot do {prompt}")).outcome == "dead"


async def test_dead_letters_keep_the_task_and_its_error(each_client: Client, queue: QueueKeys) -> None:
    await bury(each_client, queue, ["a", "b"])
    letters = DeadLetters(each_client, queue)
    assert await letters.count() == 2
    first, second = await letters.list()
    assert (first.error, first.attempts) == ("cannot do a", 1)
    assert first.fields == {"prompt": "a", "attempt": "1", "model": "m"}
    assert await letters.list(after=first.id) == [second]


async def test_a_requeued_dead_letter_is_a_new_task_with_its_attempts_from_one(
    each_client: Client, queue: QueueKeys
) -> None:
    await bury(each_client, queue, ["a", "b"])
    letters = DeadLetters(each_client, queue)
    [first, _] = await letters.list()
    requeued = await letters.requeue([first.id, "1-1"])
    assert list(requeued) == [first.id]
    assert await letters.requeue([first.id]) == {}, "requeued twice"
    assert await letters.count() == 1
    [task] = await Consumer(each_client, queue, "w").claim(9)
    assert (task.id, task.attempt, dict(task.fields)) == (
        requeued[first.id],
        1,
        {"prompt": "a", "attempt": "1", "model": "m"},
    )


async def test_all_dead_letters_are_requeued_in_pages_or_deleted(client: Client, queue: QueueKeys) -> None:
    await bury(client, queue, [str(i) for i in range(250)])
    letters = DeadLetters(client, queue)
    [oldest] = await letters.list(count=1)
    assert await letters.delete([oldest.id]) == 1
    assert await letters.requeue_all() == 249
    assert await letters.count() == 0
    assert await letters.requeue_all() == 0
    tasks = await Consumer(client, queue, "w").claim(300)
    assert [task.prompt for task in tasks] == [str(i) for i in range(1, 250)]


async def test_one_is_found_by_its_id_and_all_are_deleted_in_pages(client: Client, queue: QueueKeys) -> None:
    await bury(client, queue, [str(i) for i in range(250)])
    letters = DeadLetters(client, queue)
    [first, second] = await letters.list(count=2)
    assert await letters.get(second.id) == second
    await letters.delete([first.id])
    assert await letters.get(first.id) is None
    assert await letters.delete_all() == 249
    assert await letters.delete_all() == 0
    assert await letters.count() == 0


async def test_dead_letters_are_bounded_by_number_and_age_and_counted(each_client: Client, queue: QueueKeys) -> None:
    producer, letters = Producer(each_client, queue), DeadLetters(each_client, queue)
    worker = Consumer(each_client, queue, "w", letters=LettersKept(count=3, seconds=3600))
    dropped = 0
    for number in range(5):
        await producer.submit(f"{number}")
        dropped += (await worker.fail((await worker.claim(1))[0], "boom", final=True)).dropped
    assert [letter.fields["prompt"] for letter in await letters.list()] == ["2", "3", "4"]
    assert dropped == 2
    old = Consumer(each_client, queue, "w", letters=LettersKept(count=3, seconds=0.001))
    await asyncio.sleep(0.01)
    reclaimed = await old.reclaim(0)
    assert reclaimed is not None
    assert reclaimed.dropped == 3, "they go by their age, also when no further task dies"
    [counts] = await read_counts(each_client, [queue])
    assert isinstance(counts, Counts)
    assert (counts.dead, counts.dropped) == (5, 5)


async def test_an_entry_of_thousands_of_fields_is_buried_in_part(each_client: Client, queue: QueueKeys) -> None:
    """It could not be buried, and was tried, and paid for, for ever: attempt 8 at two retries."""
    fields = [part for number in range(9000) for part in (f"f{number}", "x")]
    await each_client.execute_command("XADD", queue.stream, "*", *fields)
    worker = Consumer(each_client, queue, "w", retries=RetryPolicy(max_failures=1))
    [task] = await worker.claim(1)
    assert len(task.fields) == 9000
    assert (await worker.fail(task, "boom")).outcome == "dead"
    [letter] = await DeadLetters(each_client, queue).list()
    assert (letter.task_id, letter.error, len(letter.fields)) == (task.id, "boom", 3500)
    [requeued] = (await DeadLetters(each_client, queue).requeue([letter.id])).values()
    assert requeued


async def test_letters_go_when_their_time_is_over_though_no_worker_runs(client: Client, queue: QueueKeys) -> None:
    await Producer(client, queue).submit("x")
    worker = Consumer(client, queue, "w", letters=LettersKept(seconds=60))
    await worker.fail((await worker.claim(1))[0], "boom", final=True)
    assert 0 < await client.execute_command("PTTL", queue.dead) <= 60_000
