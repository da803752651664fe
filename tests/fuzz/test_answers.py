"""Any answer of a provider, through its official SDK: each task ends, and what it has cost is booked.

A case is a status, a body, how much of it comes, and what it says of its cost. Whatever it is, the task is completed,
or an attempt, or dead, or goes back; nothing is stuck or lost, no reservation stays, and the ledger has at least what
the provider says that it bills.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Literal

from hypothesis import given, settings
from hypothesis import strategies as st

from ark_agent import gate as gate_module
from ark_agent import providers
from ark_agent import reserving as reserving_module
from ark_agent.attempt_clock import AttemptClock
from ark_agent.calls import Calls
from ark_agent.gate import Gate, NotNow
from ark_agent.metrics import AgentMetrics
from ark_agent.providers import Message, ProviderOptions, Request
from ark_agent.providers.errors import ProviderError
from ark_agent.providers.usage import MOST_TOKENS
from ark_agent.reserving import CallLimits, Reserving
from ark_taskqueue import Budget, Consumer, Outcome, Producer, QueueKeys, Task, TokenLedger, connect, read_depth
from hack.local.redis_server import RedisServer
from tests.agent.llm_server import Answer, LLMServer, serving
from tests.fuzz.corpus import examples

PROMPT = "a prompt that nobody else may see"
BUDGET = Budget(10**12, 1000)
_PATHS = {"anthropic": "/v1/messages", "openai": "/v1/chat/completions"}

_NUMBERS = st.one_of(
    st.none(), st.integers(-5, 2000), st.sampled_from([0, True, "7", 1.5, float("nan"), 10**30, [], {}])
)
_WORDS = st.sampled_from(["", "stop", "end_turn", "length", "content_filter", "refusal", "error", "tool_calls", PROMPT])
_CODES = st.one_of(
    st.none(),
    st.sampled_from([429, "429", 500, "rate_limit_exceeded", "context_length_exceeded", "insufficient_quota", PROMPT]),
    st.sampled_from(["invalid_request_error", "overloaded_error", "authentication_error", "billing", {"a": 1}]),
)
_ERRORS = st.one_of(
    st.none(),
    st.just(PROMPT),
    st.fixed_dictionaries(
        {},
        optional={
            "message": st.sampled_from([PROMPT, "quota billing max_tokens", ""]),
            "code": _CODES,
            "type": _CODES,
            "param": st.sampled_from([None, "max_tokens", "model", "messages"]),
        },
    ),
)
_CONTENT = st.one_of(
    st.none(),
    st.sampled_from(["", "an answer", [], {}, 3, [None], ["an ", "answer"]]),
    st.lists(
        st.fixed_dictionaries(
            {"type": st.sampled_from(["text", "output_text", "tool_use", "thinking"])},
            optional={"text": st.sampled_from(["an answer", "", None, 3])},
        ),
        max_size=3,
    ),
)


def _usage(names: list[str]) -> st.SearchStrategy[Any]:
    fields = st.fixed_dictionaries({}, optional=dict.fromkeys(names, _NUMBERS))
    return st.one_of(st.none(), st.just("none"), fields)


_OPENAI = st.fixed_dictionaries(
    {},
    optional={
        "error": _ERRORS,
        "usage": _usage(["prompt_tokens", "completion_tokens", "total_tokens"]),
        "choices": st.one_of(
            st.none(),
            st.just([None]),
            st.lists(
                st.fixed_dictionaries(
                    {},
                    optional={
                        "finish_reason": st.one_of(st.none(), _WORDS),
                        "error": _ERRORS,
                        "message": st.one_of(
                            st.none(),
                            st.fixed_dictionaries({}, optional={"content": _CONTENT, "refusal": st.just(PROMPT)}),
                        ),
                    },
                ),
                max_size=2,
            ),
        ),
    },
)
_ANTHROPIC = st.fixed_dictionaries(
    {},
    optional={
        "type": st.sampled_from(["message", "error"]),
        "error": _ERRORS,
        "content": _CONTENT,
        "stop_reason": st.one_of(st.none(), _WORDS),
        "usage": _usage(["input_tokens", "output_tokens", "cache_read_input_tokens", "cache_creation_input_tokens"]),
    },
)
_ODD_BODIES = st.sampled_from(["", "{", "null", "[]", "3", "<html>", '"text"', "{" * 2000, "\x00", '{"a": NaN}'])


@dataclass(frozen=True)
class Case:
    name: Literal["anthropic", "openai"]
    status: int
    body: Any
    cut: bool
    headers: dict[str, str]


@st.composite
def cases(draw: st.DrawFn) -> Case:
    name: Literal["anthropic", "openai"] = draw(st.sampled_from(["anthropic", "openai"]))
    status = draw(
        st.sampled_from([200, 200, 200, 201, 400, 401, 402, 403, 404, 408, 409, 413, 422, 429, 500, 502, 503, 529, 599])
    )
    body = draw(st.one_of(_ANTHROPIC if name == "anthropic" else _OPENAI, _ODD_BODIES))
    later = draw(st.sampled_from([{}, {"Retry-After": "0"}, {"Retry-After": "Fri, 31 Dec 9999 23:59:59 GMT"}]))
    return Case(name, status, body, draw(st.booleans()) and draw(st.booleans()), later)


@asynccontextmanager
async def provider_of(server: LLMServer, name: Literal["anthropic", "openai"]) -> AsyncIterator[providers.Provider]:
    base = server.url if name == "anthropic" else f"{server.url}/v1"
    made = providers.make(ProviderOptions(name=name, model="m", base_url=base, timeout_seconds=5))
    try:
        yield made
    finally:
        await made.aclose()


def billed(case: Case) -> int:
    """Return what a sensible reader finds that the provider bills, where the answer is one."""
    usage = case.body.get("usage") if isinstance(case.body, dict) else None
    if case.status not in (200, 201) or case.cut or not isinstance(usage, dict) or case.body.get("error"):
        return 0

    def plain(field: str) -> int:
        value = usage.get(field)
        if not isinstance(value, int) or isinstance(value, bool):
            return 0
        return value if 0 <= value <= MOST_TOKENS else 0

    if case.name == "anthropic":
        return sum(map(plain, usage))
    return max(plain("prompt_tokens") + plain("completion_tokens"), plain("total_tokens"))


def is_answer(case: Case) -> bool:
    """Return whether a case is an answer with a message, and no error beside it."""
    if case.status not in (200, 201) or case.cut or not isinstance(case.body, dict) or case.body.get("error"):
        return False
    if case.name == "anthropic":
        return isinstance(case.body.get("content"), list)
    choices = case.body.get("choices")
    first = choices[0] if isinstance(choices, list) and choices else None
    if not isinstance(first, dict) or first.get("error") or first.get("finish_reason") == "error":
        return False
    return isinstance(first.get("message"), dict)


async def play(server: RedisServer, played: list[Case]) -> None:
    """Have each answer come to a task of its own, and end the task as a worker does."""
    client = connect(server.url)
    queue = QueueKeys.for_agent("default", "writer")
    worker, ledger = Consumer(client, queue, "w"), TokenLedger(client, queue)
    async with serving() as llm:
        for case in played:
            server.command("FLUSHALL")
            await Producer(client, queue).submit(PROMPT)
            [task] = await worker.claim(1)
            llm.will(_PATHS[case.name], Answer(case.body, case.status, case.headers, cut=case.cut))
            async with provider_of(llm, case.name) as provider:
                limits, gate = CallLimits(BUDGET, 10), Gate()
                calls = Calls(provider, Reserving(ledger, limits, gate), limits, gate, AgentMetrics(), "m")
                outcome = await one_call(calls, task)
                await calls.reserving.pay()
            if isinstance(outcome, str):
                assert await worker.complete(task, Outcome(outcome), 0.1)
            elif isinstance(outcome, NotNow):
                assert (await worker.refuse(task, str(outcome))).outcome == "refused"
            else:
                assert (await worker.fail(task, outcome.full)).outcome in ("retry", "dead")
                assert PROMPT not in str(outcome), "a text of the provider's would be logged"
            usage = await ledger.usage(BUDGET)
            assert usage.reserved == 0, case
            if is_answer(case):
                assert usage.total >= billed(case), case
            demand = (await read_depth(client, queue)).demand
            assert demand == (0 if isinstance(outcome, str) else 1), case
    await client.aclose()


async def one_call(calls: Calls, task: Task) -> str | NotNow | ProviderError:
    bill, clock = calls.reserving.debts.bill(), AttemptClock(20)
    try:
        async with clock:
            request = Request(task, "m", (Message("user", task.prompt),))
            return (await calls.call(request, bill, clock)).text
    except (NotNow, ProviderError) as error:
        return error


@settings(max_examples=examples(150), deadline=None)
@given(st.lists(cases(), min_size=4, max_size=4))
def test_every_answer_ends_its_task_and_is_booked(redis_server: RedisServer, played: list[Case]) -> None:
    asyncio.run(play(redis_server, played))


def setup_module() -> None:
    os.environ.setdefault("ANTHROPIC_API_KEY", "key-of-a-test")
    os.environ.setdefault("OPENAI_API_KEY", "key-of-a-test")
    # A provider that is busy is waited for; here the waits are over at once.
    reserving_module.LONGEST_WAIT_SECONDS = 0.01
    gate_module._PROBE_SECONDS = 0.0


def teardown_module() -> None:
    reserving_module.LONGEST_WAIT_SECONDS = 30.0
    gate_module._PROBE_SECONDS = 1.0
