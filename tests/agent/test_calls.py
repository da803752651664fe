"""LLM calls within the budget: what is reserved, settled, and waits. The LLM is a fake, the ledger is real."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path

import pytest

from ark_agent import reserving as module
from ark_agent.attempt_clock import AttemptClock
from ark_agent.bill import Bill
from ark_agent.calls import Calls
from ark_agent.gate import Gate, NotNow
from ark_agent.metrics import CALL_OUTCOMES, AgentMetrics
from ark_agent.providers import Estimate, Message, Reply, Request
from ark_agent.providers.errors import (
    AgentRefused,
    CallFailed,
    CallRefused,
    CallUnclear,
    InputRefused,
    NoText,
    ProviderBusy,
    ProviderError,
)
from ark_agent.reserving import CallLimits, Reserving
from ark_taskqueue import Budget, Client, QueueKeys, Settlement, Task, TokenLedger, TokenUsage, connect
from hack.local.proxy import Proxy
from hack.local.redis_server import RedisServer
from tests.agent.working import MODEL, FakeLLM, calls_of, reply
from tests.eventually import eventually
from tests.taskqueue.moving_time import age_ledger

BUDGET = Budget(10_000, 1000)
DAY = 86_400


def request(model: str = MODEL) -> Request:
    return Request(Task("1-0", 1, 1, {}), model, (Message("user", "x"),))


async def call(calls: Calls, bill: Bill | None = None, *, model: str = MODEL, last: bool = False) -> Reply:
    """Make a call, and pay what it costs, which a worker does beside its tasks."""
    clock = AttemptClock(60)
    try:
        async with clock:
            return await calls.call(request(model), bill or calls.reserving.debts.bill(), clock, last=last)
    finally:
        await calls.reserving.pay()


async def scripts_run(client: Client) -> int:
    """Return how often a server was asked to run a script."""
    return int((await client.info("commandstats")).get("cmdstat_evalsha", {}).get("calls", 0))


async def usage_of(client: Client, queue: QueueKeys, budget: Budget = BUDGET) -> TokenUsage:
    return await TokenLedger(client, queue).usage(budget)


async def test_a_calls_cost_takes_the_place_of_its_reservation(client: Client, queue: QueueKeys) -> None:
    seen: list[int] = []
    llm = FakeLLM(lambda _: reply(input_tokens=120, output_tokens=30), counts=100, seconds=0.05)
    calls = calls_of(client, queue, llm, BUDGET)
    bill = calls.reserving.debts.bill()
    running = asyncio.create_task(call(calls, bill))
    await eventually(lambda: bool(llm.calls), "the call")
    seen.append((await usage_of(client, queue)).reserved)
    await running
    usage = await usage_of(client, queue)
    assert seen == [1000], "a full call is reserved"
    assert llm.calls[0][1] == 900, "the LLM may write what the input leaves"
    assert (usage.input, usage.output, usage.reserved) == (120, 30, 0)
    assert (bill.input_tokens, bill.output_tokens, bill.last()) == (120, 30, None)


async def test_the_last_call_is_settled_with_its_task(client: Client, queue: QueueKeys) -> None:
    calls = calls_of(client, queue, FakeLLM(), BUDGET)
    bill = calls.reserving.debts.bill()
    await call(calls, bill, last=True)
    usage = await usage_of(client, queue)
    assert (usage.total, usage.reserved) == (0, 1000)
    last = bill.last()
    assert last is not None
    assert (last.input_tokens, last.output_tokens, last.again) == (10, 5, False)
    again = bill.last()
    assert again is not None
    assert again.again, "the answer to the first report may be lost"
    bill.close()
    assert len(calls.reserving.debts) == 1, "what was not settled with the task is owed"


async def test_no_call_is_made_when_a_full_one_does_not_fit(client: Client, queue: QueueKeys) -> None:
    llm, gate = FakeLLM(lambda _: reply(input_tokens=500, output_tokens=500), counts=500), Gate()
    calls = calls_of(client, queue, llm, BUDGET, gate=gate)
    for _ in range(9):
        await call(calls)
    await age_ledger(client, queue, 1000)
    await call(calls)
    with pytest.raises(NotNow, match="1000 tokens do not fit into the limit of 10000"):
        await call(calls)
    assert len(llm.calls) == 10
    assert DAY - 1100 < gate.seconds <= DAY - 999, "closed until the oldest calls are a day old"
    usage = await usage_of(client, queue)
    assert (usage.total, usage.reserved) == (10_000, 0)
    assert usage.restored_at is not None
    assert usage.restored_at > datetime.now(UTC)


async def test_others_reservations_are_waited_for(client: Client, queue: QueueKeys) -> None:
    ledger = TokenLedger(client, queue)
    others = [await ledger.reserve(BUDGET, 60) for _ in range(10)]
    llm = FakeLLM()
    running = asyncio.create_task(call(calls_of(client, queue, llm, BUDGET)))
    before = await scripts_run(client)

    async def tried_again() -> bool:
        return await scripts_run(client) >= before + 3

    await eventually(tried_again, "the third try to reserve")
    assert not llm.calls
    await ledger.settle(others[0], 0, 0)
    await running
    assert len(llm.calls) == 1


async def test_reservations_that_do_not_end_are_not_waited_for_forever(
    client: Client, queue: QueueKeys, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LONGEST_WAIT_SECONDS", 0.2)
    ledger, gate = TokenLedger(client, queue), Gate()
    for _ in range(10):
        await ledger.reserve(BUDGET, 60)
    with pytest.raises(NotNow, match="once running calls settle"):
        await call(calls_of(client, queue, FakeLLM(), BUDGET, gate=gate))
    assert 0 < gate.seconds <= 2


async def test_no_call_is_made_while_the_ledger_does_not_answer(folder: Path, queue: QueueKeys) -> None:
    with RedisServer(folder, persistent=True) as redis:
        client = connect(redis.url, timeout=1)
        llm = FakeLLM()
        redis.kill()
        running = asyncio.create_task(call(calls_of(client, queue, llm, BUDGET)))
        await asyncio.sleep(0.5)
        assert not llm.calls
        assert not running.done()
        redis.start()
        await running
        assert len(llm.calls) == 1
        await client.aclose()


async def test_an_answer_is_not_lost_where_its_cost_cannot_be_written_down_yet(folder: Path, queue: QueueKeys) -> None:
    with RedisServer(folder, persistent=True) as redis:
        client = connect(redis.url, timeout=1)
        llm = FakeLLM(seconds=0.5)
        calls = calls_of(client, queue, llm, BUDGET)
        running = asyncio.create_task(call(calls))
        await eventually(lambda: bool(llm.calls), "the call")
        redis.kill()
        await asyncio.sleep(1)
        redis.start()
        assert (await running).text == "done"
        await calls.reserving.pay()
        usage = await usage_of(client, queue)
        assert (usage.total, usage.reserved) == (15, 0)
        await client.aclose()


@pytest.mark.parametrize(
    ("error", "cost"),
    [(CallFailed("x"), 0), (CallRefused("x"), 0), (CallUnclear("x"), 1000), (RuntimeError("of the SDK"), 1000)],
)
async def test_a_call_of_unknown_cost_counts_in_full(
    client: Client, queue: QueueKeys, error: Exception, cost: int
) -> None:
    calls = calls_of(client, queue, FakeLLM(lambda _: error), BUDGET)
    bill = calls.reserving.debts.bill()
    with pytest.raises(type(error)):
        await call(calls, bill)
    usage = await usage_of(client, queue)
    assert (usage.total, usage.reserved) == (cost, 0)
    assert bill.input_tokens + bill.output_tokens == cost


async def test_an_answer_without_its_cost_counts_in_full(client: Client, queue: QueueKeys) -> None:
    llm = FakeLLM(lambda _: reply(input_tokens=None, output_tokens=None), counts=300)
    assert (await call(calls_of(client, queue, llm, BUDGET))).text == "done"
    usage = await usage_of(client, queue)
    assert (usage.input, usage.output) == (300, 700)


async def test_what_a_provider_bills_beyond_the_limit_is_written_down_as_it_was(
    client: Client, queue: QueueKeys
) -> None:
    await call(calls_of(client, queue, FakeLLM(lambda _: reply(output_tokens=5000)), BUDGET))
    assert (await usage_of(client, queue)).total == 5010


async def test_a_cancelled_call_counts_in_full(client: Client, queue: QueueKeys) -> None:
    llm = FakeLLM(seconds=60)
    running = asyncio.create_task(call(calls_of(client, queue, llm, BUDGET)))
    await eventually(lambda: bool(llm.calls), "the call")
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    usage = await usage_of(client, queue)
    assert (usage.total, usage.reserved) == (1000, 0)


async def test_a_call_without_an_end_is_ended_and_counts_in_full(client: Client, queue: QueueKeys) -> None:
    with pytest.raises(CallUnclear, match=r"within 0\.05 s"):
        await call(calls_of(client, queue, FakeLLM(seconds=60), BUDGET, seconds=0.05))
    assert (await usage_of(client, queue)).total == 1000


async def test_an_input_that_leaves_nothing_to_write_is_refused_before_the_call(
    client: Client, queue: QueueKeys
) -> None:
    llm = FakeLLM(counts=1000)
    with pytest.raises(InputRefused, match="the input has 1000 tokens, and a call may have 1000"):
        await call(calls_of(client, queue, llm, BUDGET))
    assert not llm.calls
    usage = await usage_of(client, queue)
    assert (usage.total, usage.reserved) == (0, 0)


def busy_first(times: int, error: Exception) -> FakeLLM:
    answers: list[Reply | Exception] = [error] * times + [reply()]
    return FakeLLM(lambda _: answers.pop(0))


async def test_a_busy_provider_is_waited_for_and_costs_nothing(client: Client, queue: QueueKeys) -> None:
    llm, metrics = busy_first(3, ProviderBusy("429", 0.05)), AgentMetrics()
    assert (await call(calls_of(client, queue, llm, BUDGET, metrics=metrics))).text == "done"
    assert len(llm.calls) == 4
    counted = [metrics.registry.get_sample_value("ark_agent_llm_calls_total", {"outcome": o}) for o in CALL_OUTCOMES]
    assert dict(zip(CALL_OUTCOMES, counted, strict=True)) == {"answered": 1, "failed": 0, "unclear": 0, "busy": 3}
    assert (await usage_of(client, queue)).total == 15


async def test_while_the_provider_is_busy_no_more_tasks_are_taken(client: Client, queue: QueueKeys) -> None:
    gate = Gate()
    calls = calls_of(client, queue, FakeLLM(lambda _: ProviderBusy("529", 3600)), BUDGET, gate=gate)
    with pytest.raises(NotNow, match="529"):
        await call(calls)
    assert 4 < gate.seconds <= 5, "one task is tried soon: it may be this one alone that is refused"
    assert gate.probing
    assert not gate.takes_refused
    assert (await usage_of(client, queue)).reserved == 0


async def test_waiting_takes_none_of_the_attempts_time(client: Client, queue: QueueKeys) -> None:
    clock = AttemptClock(0.3)
    llm = busy_first(1, ProviderBusy("429", 0.5))
    async with clock:
        calls = calls_of(client, queue, llm, BUDGET)
        await calls.call(request(), calls.reserving.debts.bill(), clock)
    assert not clock.is_over


async def test_a_stop_ends_every_wait(client: Client, queue: QueueKeys) -> None:
    calls = calls_of(client, queue, FakeLLM(lambda _: ProviderBusy("429", 25)), BUDGET)
    running = asyncio.create_task(call(calls))
    await asyncio.sleep(0.1)
    calls.reserving.stop()
    with pytest.raises(NotNow, match="the worker stops while it waits: 429"):
        await running


async def test_a_refused_agent_is_no_tasks_fault(client: Client, queue: QueueKeys) -> None:
    answers: list[Reply | Exception] = [AgentRefused("anthropic answered 401: invalid x-api-key"), reply()]
    gate = Gate()
    calls = calls_of(client, queue, FakeLLM(lambda _: answers.pop(0)), BUDGET, gate=gate)
    with pytest.raises(NotNow, match="401"):
        await call(calls)
    assert calls.problem == "anthropic answered 401: invalid x-api-key"
    assert gate.seconds > 0
    await call(calls)
    assert gate.seconds == 0
    assert not calls.problem


async def test_a_model_that_a_handler_asked_for_is_its_own_fault(client: Client, queue: QueueKeys) -> None:
    error: ProviderError = AgentRefused("404: no such model", about_model=True)
    calls = calls_of(client, queue, FakeLLM(lambda _: error), BUDGET)
    with pytest.raises(InputRefused, match="no such model"):
        await call(calls, model="other")
    assert calls.problem is None


async def test_a_revoked_key_is_not_the_fault_of_a_task_with_a_model_of_its_own(
    client: Client, queue: QueueKeys
) -> None:
    calls = calls_of(client, queue, FakeLLM(lambda _: AgentRefused("401: revoked")), BUDGET)
    with pytest.raises(NotNow, match="revoked"):
        await call(calls, model="other")


async def test_an_exceeded_budget_is_looked_at_again_before_its_restore_time(
    client: Client, queue: QueueKeys, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_RECHECK_SECONDS", 0.05)
    gate = Gate()
    calls = calls_of(client, queue, FakeLLM(), BUDGET, gate=gate)
    ledger = TokenLedger(client, queue)
    await ledger.settle(await ledger.reserve(BUDGET, 60), 9001, 0)
    assert (await calls.reserving.usage()).exceeded
    assert gate.seconds > DAY - 60
    assert not await calls.reserving.until_open(asyncio.sleep)
    await client.delete(queue.tokens, f"{queue.tokens}:log", f"{queue.tokens}:reserved")
    assert await calls.reserving.until_open(asyncio.sleep)


async def test_a_provider_that_says_come_back_in_no_time_is_not_asked_all_the_time(
    client: Client, queue: QueueKeys
) -> None:
    asked: list[float] = []

    def busy(_: Request) -> Exception:
        asked.append(time.monotonic())
        return ProviderBusy("429", 0.0)

    running = asyncio.create_task(call(calls_of(client, queue, FakeLLM(busy), BUDGET)))
    await eventually(lambda: len(asked) == 4, "the fourth call")
    running.cancel()
    await asyncio.wait([running])
    for (before, now), pause in zip(pairwise(asked), (0.1, 0.2, 0.4), strict=True):
        assert now - before >= pause


async def test_a_provider_is_asked_again_however_long_it_wants_to_be_left_alone(
    client: Client, queue: QueueKeys
) -> None:
    gate = Gate()
    with pytest.raises(NotNow):
        await call(calls_of(client, queue, FakeLLM(lambda _: ProviderBusy("429", 1e9)), BUDGET, gate=gate))
    assert gate.seconds < 400


async def test_a_call_that_was_not_the_last_after_all_is_settled_by_the_next(client: Client, queue: QueueKeys) -> None:
    calls = calls_of(client, queue, FakeLLM(), BUDGET)
    bill = calls.reserving.debts.bill()
    for _ in range(3):
        await call(calls, bill, last=True)
    usage = await usage_of(client, queue)
    assert (usage.total, usage.reserved) == (30, 1000)
    assert bill.last() is not None


async def test_what_is_known_of_a_cost_is_booked_though_the_rest_is_not(client: Client, queue: QueueKeys) -> None:
    answers = [Reply("x", None, 4000, "end_turn"), Reply("x", None, None, "end_turn", 7000)]
    await call(calls_of(client, queue, FakeLLM(lambda _: answers.pop(0)), Budget(100_000, 1000)))
    assert (await usage_of(client, queue)).total == 4000
    await call(calls_of(client, queue, FakeLLM(lambda _: answers.pop(0)), Budget(100_000, 1000)))
    assert (await usage_of(client, queue)).total == 4000 + 7000


async def test_an_input_that_could_not_be_counted_this_time_is_tried_again(client: Client, queue: QueueKeys) -> None:
    with pytest.raises(CallFailed, match="the input could not be counted, and its estimate"):
        await call(calls_of(client, queue, FakeLLM(counts=Estimate(1000)), BUDGET))
    with pytest.raises(InputRefused):
        await call(calls_of(client, queue, FakeLLM(counts=1000), BUDGET))


@pytest.mark.parametrize("tokens", [-1, 10**25])
async def test_a_cost_that_cannot_be_counts_in_full(client: Client, queue: QueueKeys, tokens: int) -> None:
    await call(calls_of(client, queue, FakeLLM(lambda _: reply(output_tokens=tokens)), BUDGET))
    usage = await usage_of(client, queue)
    assert (usage.total, usage.reserved) == (1000, 0)


async def test_the_output_may_be_limited_below_what_the_input_leaves(client: Client, queue: QueueKeys) -> None:
    llm = FakeLLM(counts=10)
    limits = CallLimits(BUDGET, output_tokens=300)
    gate = Gate()
    reserving = Reserving(TokenLedger(client, queue), limits, gate)
    await call(Calls(llm, reserving, limits, gate, AgentMetrics(), MODEL))
    assert llm.calls[0][1] == 300


async def test_a_cost_is_written_down_however_the_attempt_ends_and_however_long_redis_is_away(
    folder: Path, queue: QueueKeys
) -> None:
    with RedisServer(folder, persistent=True) as redis:
        client = connect(redis.url, timeout=0.3)
        llm = FakeLLM(seconds=0.3)
        calls = calls_of(client, queue, llm, BUDGET)
        paying = asyncio.create_task(calls.reserving.debts.run())
        running = asyncio.create_task(call(calls))
        await eventually(lambda: bool(llm.calls), "the call")
        redis.kill()
        await asyncio.sleep(0.6)
        running.cancel()
        await asyncio.wait([running])
        assert len(calls.reserving.debts) == 1
        await asyncio.sleep(3)
        redis.start()
        await eventually(lambda: not len(calls.reserving.debts), "the payment")
        usage = await usage_of(client, queue)
        assert (usage.total, usage.reserved) == (15, 0)
        paying.cancel()
        await asyncio.wait([paying])
        await client.aclose()


async def test_what_is_owed_is_paid_before_anything_is_reserved(client: Client, queue: QueueKeys) -> None:
    ledger, llm = TokenLedger(client, queue), FakeLLM()
    calls = calls_of(client, queue, llm, BUDGET)
    reservation = await ledger.reserve(BUDGET, 60)
    calls.reserving.debts.owe(Settlement(reservation, 9500, 0))
    with pytest.raises(NotNow):
        await call(calls)
    assert not llm.calls


async def test_a_redis_that_hangs_takes_none_of_the_attempts_time(redis_server: RedisServer, queue: QueueKeys) -> None:
    async with Proxy(redis_server.port) as proxy:
        client = connect(f"redis://127.0.0.1:{proxy.port}", timeout=0.5)
        await TokenLedger(client, queue).usage(BUDGET)
        proxy.hang()
        clock = AttemptClock(0.4)

        async def attempt() -> Reply:
            async with clock:
                calls = calls_of(client, queue, FakeLLM(), BUDGET)
                return await calls.call(request(), calls.reserving.debts.bill(), clock)

        running = asyncio.create_task(attempt())
        await asyncio.sleep(1.5)
        assert not running.done()
        proxy.resume()
        proxy.drop_connections()
        assert (await running).text == "done"
        await client.aclose()


async def test_of_calls_at_the_same_time_each_cost_is_booked_once(client: Client, queue: QueueKeys) -> None:
    llm = FakeLLM(seconds=0.05)
    calls, clock = calls_of(client, queue, llm, BUDGET), AttemptClock(60)
    bill = calls.reserving.debts.bill()
    async with clock:
        await asyncio.gather(*(calls.call(request(), bill, clock, last=True) for _ in range(4)))
    bill.close()
    await calls.reserving.pay()
    usage = await usage_of(client, queue)
    assert (usage.total, usage.reserved) == (4 * 15, 0)


async def test_a_call_that_ends_after_its_task_is_booked(client: Client, queue: QueueKeys) -> None:
    calls = calls_of(client, queue, FakeLLM(), BUDGET)
    bill = calls.reserving.debts.bill()
    assert bill.last() is None
    await call(calls, bill, last=True)
    assert (await usage_of(client, queue)).total == 15


@pytest.mark.parametrize("stop", ["refusal", "content_filter", "max_tokens", "length", "", "SAFETY"])
async def test_no_text_without_a_clean_stop_is_a_failure_with_its_reason(
    client: Client, queue: QueueKeys, stop: str
) -> None:
    calls = calls_of(client, queue, FakeLLM(lambda _: Reply("", 10, 5, stop)), BUDGET)
    with pytest.raises(NoText, match=stop or "no known reason"):
        await call(calls, last=True)
    usage = await usage_of(client, queue)
    assert (usage.total, usage.reserved) == (15, 0), "what it has cost is known"


@pytest.mark.parametrize("stop", ["end_turn", "stop", "stop_sequence", "tool_use", "tool_calls"])
async def test_an_llm_may_have_nothing_to_say(client: Client, queue: QueueKeys, stop: str) -> None:
    calls = calls_of(client, queue, FakeLLM(lambda _: Reply("", 10, 5, stop)), BUDGET)
    assert (await call(calls)).stop == stop
