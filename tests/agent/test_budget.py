"""What a worker does with its tasks when the daily budget is used up, and when there is room again."""

from __future__ import annotations

import asyncio

import pytest

from ark_agent import reserving as reserving_module
from ark_agent.context import Context
from ark_agent.failures import Rejected
from ark_agent.gate import NotNow
from ark_agent.options import WorkLimits
from ark_agent.providers import Reply
from ark_agent.providers.errors import AgentRefused, CallRefused, CallUnclear, ProviderBusy
from ark_taskqueue import (
    Budget,
    Client,
    Consumer,
    DeadLetters,
    Producer,
    QueueKeys,
    Result,
    TokenLedger,
    read_depth,
)
from tests.agent.working import FakeLLM, reply, working
from tests.eventually import eventually
from tests.taskqueue.moving_time import age_ledger

BUDGET = Budget(3000, 1000)
FULL = {"input_tokens": 600, "output_tokens": 400}
DAY = 86_400


async def result_of(client: Client, queue: QueueKeys, task_id: str) -> Result:
    async with asyncio.timeout(60):
        return await Producer(client, queue).wait_for_result(task_id)


async def given_back(client: Client, queue: QueueKeys, waiting: int) -> None:
    async def so_many_wait() -> bool:
        depth = await read_depth(client, queue)
        return (depth.waiting, depth.in_flight) == (waiting, 0)

    await eventually(so_many_wait, f"{waiting} tasks waiting and none in flight")


async def test_tasks_beyond_the_budget_wait_in_their_place_and_are_no_attempts(
    client: Client, queue: QueueKeys
) -> None:
    producer = Producer(client, queue)
    ids = [(await producer.submit("x", meta=FULL)).task_id for _ in range(5)]
    async with working(client, queue, budget=BUDGET, limits=WorkLimits(concurrent_tasks=1)):
        for task_id in ids[:3]:
            assert (await result_of(client, queue, task_id)).status == "completed"
        await given_back(client, queue, 2)
    usage = await TokenLedger(client, queue).usage(BUDGET)
    assert (usage.total, usage.reserved, usage.exceeded) == (3000, 0, True)
    tasks = await Consumer(client, queue, "next").claim(5)
    assert [(task.id, task.attempt) for task in tasks] == [(task_id, 1) for task_id in ids[3:]]
    assert await DeadLetters(client, queue).count() == 0


async def test_a_worker_takes_no_task_while_the_budget_is_exceeded_and_goes_on_when_it_is_not(
    client: Client, queue: QueueKeys, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reserving_module, "_RECHECK_SECONDS", 0.1)
    ledger, llm = TokenLedger(client, queue), FakeLLM()
    await ledger.settle(await ledger.reserve(BUDGET, 60), 2500, 0)
    submission = await Producer(client, queue).submit("x")
    async with working(client, queue, budget=BUDGET, provider=llm) as worker:
        await asyncio.sleep(1)
        assert worker.not_ready is None, "a used up budget is no illness"
        depth = await read_depth(client, queue)
        assert (depth.waiting, depth.in_flight) == (1, 0)
        assert await client.xinfo_groups(queue.stream) == [], "no worker has taken anything, ever"
        await age_ledger(client, queue, DAY + 2)
        assert (await result_of(client, queue, submission.task_id)).attempts == 1
    assert len(llm.calls) == 1


async def test_the_cost_of_a_task_is_written_down_once_with_its_end(client: Client, queue: QueueKeys) -> None:
    async with working(client, queue, budget=BUDGET):
        submission = await Producer(client, queue).submit("x", meta=FULL)
        result = await result_of(client, queue, submission.task_id)
        assert (result.input_tokens, result.output_tokens) == (600, 400)
        usage = await TokenLedger(client, queue).usage(BUDGET)
        assert (usage.input, usage.output, usage.reserved) == (600, 400, 0)


async def test_the_cost_of_a_task_that_went_to_another_worker_is_written_down_too(
    client: Client, queue: QueueKeys
) -> None:
    llm = FakeLLM(seconds=0.5)
    async with working(client, queue, budget=BUDGET, provider=llm):
        submission = await Producer(client, queue).submit("x")
        await eventually(lambda: bool(llm.calls), "the call")
        await client.xclaim(queue.stream, queue.group, "thief", 0, [submission.task_id])

        async def settled() -> bool:
            usage = await TokenLedger(client, queue).usage(BUDGET)
            return (usage.total, usage.reserved) in ((15, 0), (1000, 0))

        await eventually(settled, "the cost of the lost task")
    assert await Producer(client, queue).result(submission.task_id) is None


async def test_every_call_of_a_handler_counts(client: Client, queue: QueueKeys) -> None:
    async def three_calls(context: Context) -> dict[str, object]:
        texts = [(await context.call(f"part {part}", system=None if part else "other")).text for part in range(3)]
        return {"parts": texts}

    llm = FakeLLM(lambda request: reply(text=request.messages[-1].content))
    async with working(client, queue, three_calls, budget=BUDGET, provider=llm):
        submission = await Producer(client, queue).submit("x")
        result = await result_of(client, queue, submission.task_id)
        usage = await TokenLedger(client, queue).usage(BUDGET)
    assert result.output == '{"parts": ["part 0", "part 1", "part 2"]}'
    assert (result.input_tokens, result.output_tokens) == (30, 15)
    assert (usage.input, usage.output, usage.reserved) == (30, 15, 0)
    assert [request.system for request, _ in llm.calls] == ["other", "be brief", "be brief"]


async def test_a_handler_whose_second_call_does_not_fit_is_given_its_task_again(
    client: Client, queue: QueueKeys, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reserving_module, "_RECHECK_SECONDS", 0.1)

    async def two_calls(context: Context) -> str:
        await context.call("one")
        return (await context.call("two")).text

    llm = FakeLLM(lambda _: reply(input_tokens=600, output_tokens=400), counts=600)
    budget = Budget(1500, 1000)
    async with working(client, queue, two_calls, budget=budget, provider=llm):
        submission = await Producer(client, queue).submit("x")
        await given_back(client, queue, 1)
        await client.delete(queue.tokens, f"{queue.tokens}:log", f"{queue.tokens}:reserved")
        llm.act = lambda _: reply()
        result = await result_of(client, queue, submission.task_id)
    assert (result.status, result.attempts) == ("completed", 1)


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ({}, "Rejected: the task has no field 'prompt'"),
        ({"prompt": ""}, "Rejected: the task has no field 'prompt'"),
    ],
)
async def test_a_payload_that_the_handler_does_not_want_is_a_dead_letter_at_once(
    client: Client, queue: QueueKeys, fields: dict[str, str], error: str
) -> None:
    flat = [item for pair in {"other": "1", **fields}.items() for item in pair]
    task_id = (await client.execute_command("XADD", queue.stream, "*", *flat)).decode()
    async with working(client, queue):
        result = await result_of(client, queue, task_id)
    assert (result.status, result.attempts) == ("dead", 1)
    assert error in result.error
    [letter] = await DeadLetters(client, queue).list()
    assert letter.fields == {"other": "1", **fields}


async def test_what_a_handler_rejects_is_not_tried_again(client: Client, queue: QueueKeys) -> None:
    async def picky(context: Context) -> str:
        raise Rejected(f"no {context.task.prompt}")

    async with working(client, queue, picky):
        submission = await Producer(client, queue).submit("thanks")
        result = await result_of(client, queue, submission.task_id)
    assert (result.status, result.attempts, result.error) == ("dead", 1, "Rejected: no thanks")


async def test_a_stop_for_a_tool_is_a_dead_letter_that_says_so(client: Client, queue: QueueKeys) -> None:
    llm = FakeLLM(lambda _: Reply("", 10, 5, "tool_use"))
    async with working(client, queue, provider=llm, budget=BUDGET):
        submission = await Producer(client, queue).submit("x")
        result = await result_of(client, queue, submission.task_id)
        usage = await TokenLedger(client, queue).usage(BUDGET)
    assert result.status == "dead"
    assert "stopped to use a tool" in result.error
    assert (usage.total, usage.reserved) == (15, 0), "the call was made, and costs what it costs"


async def test_an_input_that_is_too_long_is_a_dead_letter_at_once(client: Client, queue: QueueKeys) -> None:
    async with working(client, queue, budget=BUDGET):
        submission = await Producer(client, queue).submit("x", meta={"input_tokens": 1000})
        result = await result_of(client, queue, submission.task_id)
    assert (result.status, result.attempts) == ("dead", 1)
    assert "the input has 1000 tokens, and a call may have 1000" in result.error


async def test_a_busy_provider_uses_up_no_attempt(client: Client, queue: QueueKeys) -> None:
    answers = [ProviderBusy("429", 0.02)] * 5
    llm = FakeLLM(lambda _: answers.pop() if answers else reply())
    async with working(client, queue, provider=llm):
        submission = await Producer(client, queue).submit("x")
        result = await result_of(client, queue, submission.task_id)
    assert (result.status, result.attempts) == ("completed", 1)
    assert len(llm.calls) == 6


async def test_timeouts_and_errors_use_up_attempts(client: Client, queue: QueueKeys) -> None:
    llm = FakeLLM(lambda _: CallUnclear("cut off"))
    async with working(client, queue, provider=llm):
        submission = await Producer(client, queue).submit("x")
        result = await result_of(client, queue, submission.task_id)
    assert (result.status, result.attempts, result.error) == ("dead", 3, "CallUnclear: cut off")


async def test_a_refused_key_keeps_the_tasks_in_the_queue_and_the_worker_not_ready(
    client: Client, queue: QueueKeys
) -> None:
    llm = FakeLLM(lambda _: AgentRefused("anthropic answered 401: invalid key"))
    producer = Producer(client, queue)
    async with working(client, queue, provider=llm, limits=WorkLimits(concurrent_tasks=1)) as worker:
        for _ in range(3):
            await producer.submit("x")
        await eventually(lambda: worker.not_ready == "anthropic answered 401: invalid key", "the problem")
        await given_back(client, queue, 3)
    assert len(llm.calls) == 1
    assert await DeadLetters(client, queue).count() == 0
    assert [task.attempt for task in await Consumer(client, queue, "next").claim(5)] == [1, 1, 1]


async def test_on_stop_a_task_that_waits_is_given_back_at_once(client: Client, queue: QueueKeys) -> None:
    llm = FakeLLM(lambda _: ProviderBusy("429", 25))
    limits = WorkLimits(grace_seconds=60)
    async with working(client, queue, provider=llm, limits=limits) as worker:
        await Producer(client, queue).submit("x")
        await eventually(lambda: bool(llm.calls), "the call")
        worker.stop()
        async with asyncio.timeout(20):
            await given_back(client, queue, 1)


async def test_a_task_that_is_cut_off_by_the_stop_counts_in_full_and_is_given_back(
    client: Client, queue: QueueKeys
) -> None:
    llm = FakeLLM(seconds=600)
    async with working(client, queue, provider=llm, budget=BUDGET, limits=WorkLimits(grace_seconds=0.05)):
        await Producer(client, queue).submit("x")
        await eventually(lambda: bool(llm.calls), "the call")
    usage = await TokenLedger(client, queue).usage(BUDGET)
    assert (usage.total, usage.reserved) == (1000, 0)
    assert [task.attempt for task in await Consumer(client, queue, "next").claim(5)] == [1]


async def test_the_cost_of_a_task_that_is_cut_off_while_its_end_is_reported_is_written_down(
    client: Client, queue: QueueKeys, monkeypatch: pytest.MonkeyPatch
) -> None:
    reported = asyncio.Event()

    async def hang(*_: object, **__: object) -> bool:
        reported.set()
        await asyncio.sleep(600)
        return False

    monkeypatch.setattr(Consumer, "complete", hang)
    async with working(client, queue, provider=FakeLLM(), budget=BUDGET, limits=WorkLimits(grace_seconds=0.05)):
        await Producer(client, queue).submit("x")
        async with asyncio.timeout(30):
            await reported.wait()
    usage = await TokenLedger(client, queue).usage(BUDGET)
    assert (usage.total, usage.reserved) == (15, 0)


async def test_calls_at_the_same_time_that_cannot_be_made_are_no_failure(client: Client, queue: QueueKeys) -> None:
    async def at_once(context: Context) -> str:
        async with asyncio.TaskGroup() as group:
            calls = [group.create_task(context.call(f"part {part}")) for part in range(3)]
        return " ".join([(await done).text for done in calls])

    ledger = TokenLedger(client, queue)
    await ledger.settle(await ledger.reserve(BUDGET, 60), 2500, 0)
    await Producer(client, queue).submit("x")
    await Consumer(client, queue, "first").claim(1)
    await Consumer(client, queue, "first").retire()
    tight = Budget(3400, 1000)
    llm = FakeLLM(lambda _: reply(input_tokens=500, output_tokens=500))
    async with working(client, queue, at_once, provider=llm, budget=Budget(3600, 1000)):
        await given_back(client, queue, 1)
    assert [task.attempt for task in await Consumer(client, queue, "next").claim(5)] == [1]
    assert (await ledger.usage(tight)).reserved == 0


async def test_one_of_several_reasons_that_is_final_is_final(client: Client, queue: QueueKeys) -> None:
    async def at_once(_: Context) -> str:
        async def fail(error: Exception) -> None:
            raise error

        async with asyncio.TaskGroup() as group:
            group.create_task(fail(ValueError("odd")))
            group.create_task(fail(Rejected("no such thing")))
        return ""

    async with working(client, queue, at_once):
        submission = await Producer(client, queue).submit("x")
        result = await result_of(client, queue, submission.task_id)
    assert (result.status, result.attempts, result.error) == ("dead", 1, "Rejected: no such thing")


async def test_a_handler_that_says_not_now_is_not_asked_all_the_time(client: Client, queue: QueueKeys) -> None:
    asked = 0

    async def later(_: Context) -> str:
        nonlocal asked
        asked += 1
        raise NotNow("the database sleeps")

    async with working(client, queue, later, limits=WorkLimits(concurrent_tasks=1)):
        await Producer(client, queue).submit("x")
        await asyncio.sleep(2.5)
    assert 1 <= asked <= 4
    assert [task.attempt for task in await Consumer(client, queue, "next").claim(5)] == [1]


async def test_what_a_handler_has_cancelled_itself_is_a_failure_that_says_so(client: Client, queue: QueueKeys) -> None:
    async def clumsy(_: Context) -> str:
        part = asyncio.create_task(asyncio.sleep(60))
        part.cancel()
        await part
        return ""

    async with working(client, queue, clumsy):
        submission = await Producer(client, queue).submit("x")
        result = await result_of(client, queue, submission.task_id)
    assert (result.status, result.attempts) == ("dead", 3)
    assert result.error.startswith("HandlerCancelled: the handler awaited something that was cancelled")


async def test_a_queue_that_is_refused_task_by_task_does_not_die_in_a_hurry(client: Client, queue: QueueKeys) -> None:
    llm = FakeLLM(lambda _: CallRefused("400: odd"))
    producer = Producer(client, queue)
    for _ in range(30):
        await producer.submit("x")
    async with working(client, queue, provider=llm, limits=WorkLimits(concurrent_tasks=2)) as worker:
        await eventually(lambda: worker.not_ready == "400: odd", "the problem")
        await asyncio.sleep(1.5)
    assert await DeadLetters(client, queue).count() == 0
    assert len(llm.calls) <= 8


async def test_a_result_says_why_the_llm_stopped(client: Client, queue: QueueKeys) -> None:
    llm = FakeLLM(lambda _: Reply("half a sen", 10, 5, "max_tokens"))
    async with working(client, queue, provider=llm):
        submission = await Producer(client, queue).submit("x")
        result = await result_of(client, queue, submission.task_id)
    assert (result.output, result.stop) == ("half a sen", "max_tokens")
