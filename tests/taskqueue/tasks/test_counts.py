"""What has become of tasks, and what kind of server a Redis is, on every server that is supported."""

from __future__ import annotations

from ark_taskqueue import Client, Consumer, Counts, Outcome, Producer, QueueKeys, RedisRefused, read_counts, read_server


async def test_counts_are_of_the_queue_alone_and_an_error_is_its_own(each_client: Client, queue: QueueKeys) -> None:
    broken, unused = QueueKeys.for_agent("team", "broken"), QueueKeys.for_agent("team", "unused")
    await each_client.execute_command("SET", broken.stats, "no hash")
    producer = Producer(each_client, queue)
    first = await producer.submit("x")
    assert await producer.is_queued(first.task_id)
    consumer = Consumer(each_client, queue, "me")
    [task] = await consumer.claim(1)
    await consumer.complete(task, Outcome("done"), 0.01)
    assert not await producer.is_queued(first.task_id)
    found = await read_counts(each_client, [queue, broken, unused])
    assert (found[0], found[2]) == (Counts(1, 0, 0, 0, 0), Counts(0, 0, 0, 0, 0))
    assert isinstance(found[1], RedisRefused)
    assert broken.name in str(found[1])


async def test_every_server_says_what_it_is(each_client: Client) -> None:
    facts = await read_server(each_client)
    assert facts.version >= (6, 2)
    assert facts.milliseconds > 0
