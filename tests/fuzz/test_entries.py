"""Stream entries that no client of ours wrote: each ends, as a result or a dead letter, and the worker goes on."""

from __future__ import annotations

import asyncio

from hypothesis import given, settings
from hypothesis import strategies as st

from ark_taskqueue import Client, DeadLetters, Producer, QueueKeys, connect, read_depth
from ark_taskqueue.tasks.task import raw, text
from hack.local.redis_server import RedisServer
from tests.agent.working import FakeLLM, working
from tests.fuzz.corpus import examples, kept

QUEUE = QueueKeys.for_agent("default", "fuzz")
_NAMES = st.one_of(
    st.sampled_from([b"prompt", b"meta", b"traceparent", b"ark.error", b"ark.attempts", b"idempotency_key"]),
    st.binary(max_size=8),
)
_VALUES = st.one_of(
    st.binary(max_size=40),
    st.sampled_from(
        [b"{", b"[]", b"null", b"1e999", b'{"latency_seconds": "x"}', b'{"latency_seconds": -1, "output_tokens": -3}']
    ),
    st.dictionaries(
        st.sampled_from(["input_tokens", "output_tokens", "failing_attempts", "x"]),
        st.one_of(st.none(), st.booleans(), st.integers(-(2**70), 2**70), st.text(max_size=5)),
        max_size=3,
    ).map(lambda value: str(value).replace("'", '"').replace("None", "null").replace("True", "true").encode()),
)
Entry = list[tuple[bytes, bytes]]


async def play(url: str, entries: list[Entry]) -> None:
    client = connect(url)
    try:
        await _play(client, entries)
    finally:
        await client.aclose()


async def _play(client: Client, entries: list[Entry]) -> None:
    await client.execute_command("FLUSHALL")
    ids = [
        text(await client.execute_command("XADD", QUEUE.stream, "*", *(part for pair in entry for part in pair)))
        for entry in entries
    ]
    producer, letters = Producer(client, QUEUE), DeadLetters(client, QUEUE)
    # Not the echo provider, which takes its orders from the task: three that it refuses in a row slow a worker down.
    async with working(client, QUEUE, provider=FakeLLM()):
        sound = await producer.submit("a sound one behind them")
        async with asyncio.timeout(60):
            assert (await producer.wait_for_result(sound.task_id)).status == "completed"
            while (await read_depth(client, QUEUE)).demand:  # noqa: ASYNC110 - retries are on their way
                await asyncio.sleep(0.01)
    dead = {letter.task_id for letter in await letters.list()}
    for task in ids:
        result = await producer.result(task)
        assert result is not None, f"{task} has no end"
        assert (result.status == "dead") == (task in dead)


def test_kept_entries(redis_server: RedisServer) -> None:
    entries = [[(raw(name), raw(value)) for name, value in entry.items()] for entry in kept("entries")]
    asyncio.run(play(redis_server.url, [entry for entry in entries if entry]))


@settings(max_examples=examples(40))
@given(st.lists(st.lists(st.tuples(_NAMES, _VALUES), min_size=1, max_size=4), min_size=1, max_size=5))
def test_new_entries(redis_server: RedisServer, entries: list[Entry]) -> None:
    asyncio.run(play(redis_server.url, entries))
