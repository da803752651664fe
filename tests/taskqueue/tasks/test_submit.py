"""Submitting tasks and reading their results."""

from __future__ import annotations

import asyncio

import pytest

from ark_taskqueue import Client, Consumer, KeyInUse, Outcome, Producer, QueueFull, QueueKeys, ResultGone, read_depth


async def test_a_task_is_an_entry_with_the_fields_of_the_contract(client: Client, queue: QueueKeys) -> None:
    submission = await Producer(client, queue).submit(
        "hello", fields={"model": "small"}, meta={"user": 7}, traceparent="00-ab-cd-01"
    )
    [(entry_id, entry)] = await client.execute_command("XRANGE", queue.stream, "-", "+")
    assert entry_id.decode() == submission.task_id
    assert entry == {
        b"prompt": b"hello",
        b"attempt": b"1",
        b"traceparent": b"00-ab-cd-01",
        b"meta": b'{"user": 7}',
        b"model": b"small",
    }
    [task] = await Consumer(client, queue, "w").claim(1)
    assert (task.prompt, task.attempt, task.traceparent, task.meta) == ("hello", 1, "00-ab-cd-01", {"user": 7})


async def test_a_full_queue_refuses_a_task_and_takes_one_again_when_there_is_room(
    each_client: Client, queue: QueueKeys
) -> None:
    producer, worker = Producer(each_client, queue, max_depth=2), Consumer(each_client, queue, "w")
    await producer.submit("1")
    await producer.submit("2")
    [task] = await worker.claim(1)
    with pytest.raises(QueueFull, match=r"ark:\{default/writer\}:tasks is full, it holds 2 tasks"):
        await producer.submit("3")
    await worker.complete(task, Outcome(""), 0)
    await producer.submit("3")


async def test_a_submission_repeated_under_its_key_adds_nothing(each_client: Client, queue: QueueKeys) -> None:
    producer = Producer(each_client, queue)
    submissions = await asyncio.gather(*(producer.submit("x", idempotency_key="order-1") for _ in range(20)))
    assert len({submission.task_id for submission in submissions}) == 1
    assert sum(submission.is_new for submission in submissions) == 1
    assert await each_client.execute_command("XLEN", queue.stream) == 1
    assert (await producer.submit("x", idempotency_key="order-2")).is_new
    assert 0 < await each_client.execute_command("PTTL", queue.once("order-1")) <= 24 * 3600 * 1000


async def test_a_key_is_remembered_when_the_queue_is_full_and_its_task_done(client: Client, queue: QueueKeys) -> None:
    producer, worker = Producer(client, queue, max_depth=1), Consumer(client, queue, "w")
    first = await producer.submit("x", idempotency_key="k")
    await worker.complete((await worker.claim(1))[0], Outcome(""), 0)
    await producer.submit("other")
    assert await producer.submit("x", idempotency_key="k") == type(first)(first.task_id, is_new=False)


async def test_a_result_can_be_read_and_waited_for_and_ends_with_its_time_to_live(
    each_client: Client, queue: QueueKeys
) -> None:
    producer, worker = Producer(each_client, queue), Consumer(each_client, queue, "w")
    task_id = (await producer.submit("hello")).task_id
    assert await producer.result(task_id) is None
    waiting = asyncio.create_task(producer.wait_for_result(task_id))
    [task] = await worker.claim(1)
    await worker.complete(task, Outcome("wörld", input_tokens=3, output_tokens=5), 1.5)
    async with asyncio.timeout(30):
        result = await waiting
    assert (result.status, result.output, result.input_tokens, result.output_tokens) == ("completed", "wörld", 3, 5)
    assert (result.service_ms, result.attempts) == (1500, 1)
    assert 0 < await each_client.execute_command("PTTL", queue.result(task_id)) <= 3600 * 1000


async def test_bytes_that_are_no_text_survive_the_way_to_the_worker(client: Client, queue: QueueKeys) -> None:
    prompt = b"\xff\x00caf\xc3\xa9".decode("utf-8", "surrogateescape")
    await Producer(client, queue).submit(prompt)
    [task] = await Consumer(client, queue, "w").claim(1)
    assert task.prompt == prompt


async def test_a_key_that_was_used_for_something_else_is_refused(each_client: Client, queue: QueueKeys) -> None:
    producer = Producer(each_client, queue)
    first = await producer.submit("one", meta={"a": 1}, idempotency_key="k")
    again = await producer.submit("one", meta={"a": 1}, idempotency_key="k")
    assert (again.task_id, again.is_new) == (first.task_id, False)
    for other in (
        producer.submit("two", meta={"a": 1}, idempotency_key="k"),
        producer.submit("one", meta={"a": 2}, idempotency_key="k"),
        producer.submit("one", meta={"a": 1}, fields={"b": "1"}, idempotency_key="k"),
    ):
        with pytest.raises(KeyInUse, match=first.task_id):
            await other
    assert (await read_depth(each_client, queue)).demand == 1


async def test_a_key_of_an_earlier_version_has_no_digest_and_is_taken_as_it_is(
    each_client: Client, queue: QueueKeys
) -> None:
    await each_client.execute_command("SET", queue.once("k"), "123-0")
    submission = await Producer(each_client, queue).submit("anything", idempotency_key="k")
    assert (submission.task_id, submission.is_new) == ("123-0", False)


async def test_the_key_of_a_dead_task_is_free_again(each_client: Client, queue: QueueKeys) -> None:
    producer, worker = Producer(each_client, queue), Consumer(each_client, queue, "w")
    first = await producer.submit("x", idempotency_key="k")
    await worker.fail((await worker.claim(1))[0], "boom", final=True)
    second = await producer.submit("x", idempotency_key="k")
    assert second.is_new
    assert second.task_id != first.task_id
    # A field that names another task's key frees nothing.
    await producer.submit("x", fields={"ark.once": "k"})
    [mine, forged] = await worker.claim(2)
    await worker.fail(forged, "boom", final=True)
    assert not (await producer.submit("x", idempotency_key="k")).is_new
    assert await worker.complete(mine, Outcome("y"), 0)
    assert not (await producer.submit("x", idempotency_key="k")).is_new, "a completed task's key is kept"


@pytest.mark.parametrize("gone", ["expired", "deleted", "never there"])
async def test_waiting_for_what_will_never_be_ends(client: Client, queue: QueueKeys, gone: str) -> None:
    producer, worker = Producer(client, queue), Consumer(client, queue, "w")
    task_id = (await producer.submit("x")).task_id if gone != "never there" else "123-0"
    if gone == "deleted":
        await client.execute_command("XDEL", queue.stream, task_id)
    if gone == "expired":
        await worker.complete((await worker.claim(1))[0], Outcome("y"), 0)
        await client.execute_command("DEL", queue.result(task_id))
    with pytest.raises(ResultGone, match=task_id):
        async with asyncio.timeout(30):
            await producer.wait_for_result(task_id)


async def test_a_number_that_json_does_not_know_is_refused_at_once(client: Client, queue: QueueKeys) -> None:
    with pytest.raises(ValueError, match="JSON"):
        await Producer(client, queue).submit("x", meta={"a": float("nan")})


async def test_no_key_reads_what_is_remembered_of_another(client: Client, queue: QueueKeys) -> None:
    producer = Producer(client, queue)
    for key in ("x", "x:digest", "y:digest", "y"):
        assert (await producer.submit(f"task {key}", idempotency_key=key)).is_new
        assert not (await producer.submit(f"task {key}", idempotency_key=key)).is_new
    assert (await read_depth(client, queue)).demand == 4


async def test_the_order_in_which_contents_are_given_makes_no_other_task(client: Client, queue: QueueKeys) -> None:
    producer = Producer(client, queue)
    await producer.submit("x", meta={"a": 1, "b": 2}, fields={"c": "3", "d": "4"}, idempotency_key="k")
    again = await producer.submit("x", fields={"d": "4", "c": "3"}, meta={"b": 2, "a": 1}, idempotency_key="k")
    assert not again.is_new


async def test_a_key_that_would_be_forgotten_at_once_is_refused_before_the_task_is_added(
    client: Client, queue: QueueKeys
) -> None:
    with pytest.raises(ValueError, match="remember_seconds is 0"):
        await Producer(client, queue).submit("x", idempotency_key="k", remember_seconds=0)
    assert (await read_depth(client, queue)).demand == 0
