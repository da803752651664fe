"""What a provider refuses may be one task's fault or everything's.

The fault that these tests are about: a 401 to 404, a 429 or an odd 400 for one prompt sent its task back to the front
of the queue, again and again; with as many such tasks as slots no other task was ever done.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from ark_agent import calls as calls_module
from ark_agent import gate as gate_module
from ark_agent import reserving as reserving_module
from ark_agent import worker as worker_module
from ark_agent.options import WorkLimits
from ark_agent.providers import Reply, Request
from ark_agent.providers.errors import AgentRefused, CallRefused, InputRefused, ProviderBusy, ProviderError
from ark_process.backoff import Backoff
from ark_taskqueue import Client, Consumer, DeadLetters, Ended, Producer, QueueKeys, Result, read_depth
from tests.agent.working import FakeLLM, reply, working
from tests.eventually import eventually

REFUSALS: dict[str, ProviderError] = {
    "401": AgentRefused("openai answered 401"),
    "403 for one prompt": AgentRefused("openai answered 403"),
    "404": AgentRefused("openai answered 404", about_model=True),
    "odd 400": CallRefused("openai answered 400", "billing, quota, max_tokens"),
    "429 request too large": ProviderBusy("openai answered 429"),
    "429, come back tomorrow": ProviderBusy("openai answered 429", 86_400),
    "too long": InputRefused("openai answered 413"),
}


@pytest.fixture(autouse=True)
def shorter(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, seconds in (("_PROBE_SECONDS", 0.05), ("_BUSY_PROBE_SECONDS", 0.05), ("_REFUSED_SECONDS", 0.2)):
        monkeypatch.setattr(gate_module, name, seconds)
    monkeypatch.setattr(worker_module, "_WAIT_SECONDS", 0.05)
    monkeypatch.setattr(calls_module, "_BUSY", Backoff(0.01, 0.1))
    monkeypatch.setattr(reserving_module, "LONGEST_WAIT_SECONDS", 0.3)


def refusing(error: ProviderError, prompts: str = "bad") -> FakeLLM:
    def act(request: Request) -> Reply | Exception:
        return error if request.messages[-1].content.startswith(prompts) else reply("good")

    return FakeLLM(act)


async def submit(client: Client, queue: QueueKeys, prompt: str, count: int) -> list[str]:
    producer = Producer(client, queue)
    return [(await producer.submit(f"{prompt} {number}")).task_id for number in range(count)]


async def results(client: Client, queue: QueueKeys, ids: list[str]) -> list[Result]:
    producer = Producer(client, queue)
    async with asyncio.timeout(60):
        return [await producer.wait_for_result(task_id) for task_id in ids]


@pytest.mark.parametrize("kind", list(REFUSALS))
async def test_tasks_that_are_refused_do_not_stop_the_others(client: Client, queue: QueueKeys, kind: str) -> None:
    bad = await submit(client, queue, "bad", 10)
    good = await submit(client, queue, "good", 10)
    async with working(client, queue, provider=refusing(REFUSALS[kind]), limits=WorkLimits(concurrent_tasks=5)):
        done = await results(client, queue, good)
        assert [(result.status, result.attempts) for result in done] == [("completed", 1)] * 10
        ended = await results(client, queue, bad)
    assert {result.status for result in ended} == {"dead"}, "what is refused while others are not is its own fault"
    assert await DeadLetters(client, queue).count() == 10
    assert (await read_depth(client, queue)).demand == 0


async def test_a_task_that_came_later_than_the_refused_ones_is_done_first(client: Client, queue: QueueKeys) -> None:
    await submit(client, queue, "bad", 5)
    llm = refusing(REFUSALS["401"])
    async with working(client, queue, provider=llm, limits=WorkLimits(concurrent_tasks=2)) as worker:
        await eventually(lambda: len(llm.calls) >= 5, "every task was refused once")
        assert worker.not_ready == "openai answered 401"
        [late] = await results(client, queue, await submit(client, queue, "good", 1))
        assert late.status == "completed"


@pytest.mark.parametrize(
    "kind", ["401", "403 for one prompt", "404", "429 request too large", "429, come back tomorrow"]
)
async def test_where_everything_is_refused_no_task_is_to_blame(client: Client, queue: QueueKeys, kind: str) -> None:
    ids = await submit(client, queue, "bad", 6)
    llm = refusing(REFUSALS[kind])
    async with working(client, queue, provider=llm, limits=WorkLimits(concurrent_tasks=3)):
        await eventually(lambda: len(llm.calls) >= 9, "some were tried again")
        assert await DeadLetters(client, queue).count() == 0
        assert (await read_depth(client, queue)).demand == 6
        llm.act = lambda _: reply("good again")
        done = await results(client, queue, ids)
    assert [(result.status, result.attempts) for result in done] == [("completed", 1)] * 6


async def test_inputs_that_are_refused_for_themselves_slow_nothing_down(client: Client, queue: QueueKeys) -> None:
    await submit(client, queue, "bad", 15)
    good = await submit(client, queue, "good", 15)
    async with working(client, queue, provider=refusing(REFUSALS["too long"])) as worker:
        done = await results(client, queue, good)
        assert worker.not_ready is None
    assert {result.status for result in done} == {"completed"}
    assert await DeadLetters(client, queue).count() == 15


async def test_a_rate_limit_kills_no_task_that_it_happens_to_refuse(
    client: Client, queue: QueueKeys, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One call in 20 s for ten slots, with all times a tenth."""
    times: dict[Any, dict[str, object]] = {
        gate_module: {"_PROBE_SECONDS": 0.1, "_BUSY_PROBE_SECONDS": 0.5, "_REFUSED_SECONDS": 3.0},
        calls_module: {
            "_BUSY": Backoff(0.1, 3.0),
            "_LEAST_BUSY": Backoff(0.01, 3.0),
        },
        reserving_module: {"LONGEST_WAIT_SECONDS": 3.0},
    }
    for module, values in times.items():
        for name, value in values.items():
            monkeypatch.setattr(module, name, value)
    answered = [0.0]

    def act(_: Request) -> Reply | Exception:
        if time.monotonic() - answered[0] < 2:
            return ProviderBusy("openai answered 429")
        answered[0] = time.monotonic()
        return reply()

    producer, llm = Producer(client, queue), FakeLLM(act)
    ids = [(await producer.submit(f"task {number}")).task_id for number in range(12)]
    limits = WorkLimits(concurrent_tasks=5)
    async with (
        working(client, queue, provider=llm, limits=limits),
        working(client, queue, provider=llm, limits=limits, name="other"),
        asyncio.timeout(90),
    ):
        results = [await producer.wait_for_result(task_id) for task_id in ids]
    assert {one.status for one in results} == {"completed"}


async def test_a_refused_task_may_come_back_before_the_answer_to_its_refusal(
    client: Client, queue: QueueKeys, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the same delivery count: it was no attempt. The worker took the two for one, and ended."""
    llm, refuse = refusing(REFUSALS["401"]), Consumer.refuse

    async def late(consumer: Consumer, *arguments: Any) -> Ended:
        ended = await refuse(consumer, *arguments)
        if len(llm.calls) == 1:
            await eventually(lambda: len(llm.calls) == 2, "the next call for the same task")
        return ended

    monkeypatch.setattr(Consumer, "refuse", late)
    [task_id] = await submit(client, queue, "bad", 1)
    async with working(client, queue, provider=llm):
        await eventually(lambda: len(llm.calls) >= 3, "a call after the two")
        llm.act = lambda _: reply("good again")
        [done] = await results(client, queue, [task_id])
    assert (done.status, done.attempts) == ("completed", 1)
