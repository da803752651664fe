"""A worker hears that its task is cancelled: the handler ends, the LLM's connection closes, the cost is booked."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from ark_agent import providers
from ark_agent.context import Context
from ark_agent.providers import ProviderOptions
from ark_taskqueue import Budget, Client, Producer, QueueKeys, TokenLedger, read_depth
from tests.agent.working import FakeLLM, working
from tests.eventually import eventually

BUDGET = Budget(daily=100_000, per_call=1000)


class SilentServer:
    """An LLM that is asked and never answers; knows its open connections."""

    def __init__(self) -> None:
        self.asked = 0
        self.open = 0
        self.url = ""

    async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Read until the client has gone."""
        self.open += 1
        try:
            await reader.readuntil(b"\r\n\r\n")
            self.asked += 1
            while await reader.read(65536):
                pass
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            self.open -= 1
            writer.close()


@asynccontextmanager
async def silent() -> AsyncIterator[SilentServer]:
    """Serve on a free port of the loopback."""
    silent_server = SilentServer()
    server = await asyncio.start_server(silent_server.talk, "127.0.0.1", 0)
    async with server:
        silent_server.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        yield silent_server


async def test_the_call_of_a_cancelled_task_is_closed_and_its_slot_is_free(client: Client, queue: QueueKeys) -> None:
    async with silent() as llm:
        provider = providers.make(ProviderOptions(name="openai", model="m", base_url=f"{llm.url}/v1"))
        async with working(client, queue, provider=provider, budget=BUDGET):
            producer = Producer(client, queue)
            tasks = [(await producer.submit("x")).task_id for _ in range(6)]
            await eventually(lambda: (llm.asked, llm.open) == (5, 5), "five calls")
            for task_id in tasks[:5]:
                assert await producer.cancel(task_id) == "running"
            await eventually(lambda: (llm.asked, llm.open) == (6, 1), "the end of five calls, and the next one")

            async def booked() -> bool:
                usage = await TokenLedger(client, queue).usage(BUDGET)
                return (usage.total, usage.reserved) == (5000, 1000)

            await eventually(booked, "calls of unknown cost, booked in full")
            assert await producer.cancel(tasks[5]) == "running"
            await eventually(lambda: llm.open == 0, "the end of the last call")
    assert (await read_depth(client, queue)).demand == 0
    for task_id in tasks:
        result = await producer.result(task_id)
        assert result is not None
        assert result.status == "cancelled"


async def test_a_handler_may_take_its_time_to_clean_up(client: Client, queue: QueueKeys) -> None:
    began, cleaned = asyncio.Event(), asyncio.Event()

    async def handler(context: Context) -> str:
        try:
            began.set()
            await asyncio.sleep(60)
        finally:
            await asyncio.sleep(2)
            cleaned.set()
        return context.task.prompt

    async with working(client, queue, handler):
        producer = Producer(client, queue)
        task_id = (await producer.submit("x")).task_id
        await began.wait()
        await producer.cancel(task_id)
        await eventually(cleaned.is_set, "the end of the clean-up, which nothing has cancelled")


async def test_an_answer_that_comes_after_the_cancellation_is_no_result(client: Client, queue: QueueKeys) -> None:
    llm = FakeLLM(seconds=0.3)
    async with working(client, queue, provider=llm, budget=BUDGET):
        producer = Producer(client, queue)
        task_id = (await producer.submit("x")).task_id
        await eventually(lambda: bool(llm.calls), "the call")
        await producer.cancel(task_id)

        async def settled() -> bool:
            usage = await TokenLedger(client, queue).usage(BUDGET)
            return usage.reserved == 0 and usage.total in (15, 1000)

        await eventually(settled, "the cost of the cancelled task")
    result = await producer.result(task_id)
    assert result is not None
    assert (result.status, result.output) == ("cancelled", "")
