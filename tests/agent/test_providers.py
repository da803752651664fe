"""The providers, through their official SDKs, against local servers that answer in the shapes of the real ones."""

from __future__ import annotations

import traceback
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any, Literal

import pytest

from ark_agent import providers
from ark_agent.providers import Estimate, Message, Provider, ProviderOptions, Request, estimated_tokens, most_tokens
from ark_agent.providers.errors import (
    AgentRefused,
    BadProvider,
    CallFailed,
    CallRefused,
    CallUnclear,
    InputRefused,
    ProviderBusy,
    ProviderError,
)
from ark_taskqueue import Task
from hack.local.process import free_port
from tests.agent.llm_server import Answer, LLMServer, serving

Name = Literal["anthropic", "openai"]
NAMES: tuple[Name, ...] = ("anthropic", "openai")
PATHS = {"anthropic": "/v1/messages", "openai": "/v1/chat/completions"}
MODELS = {"anthropic": "claude-sonnet-4-5", "openai": "gpt-4o"}
COUNT = "/v1/messages/count_tokens"


def request(prompt: str = "Say hello.", system: str = "Be brief.", model: str = "m") -> Request:
    task = Task("1-0", 1, 1, {"prompt": prompt})
    return Request(task, model, (Message("user", prompt),), system)


def anthropic_message(**fields: Any) -> dict[str, Any]:
    """A message as the Messages API answers it (its documentation, "Create a Message")."""
    usage = {
        "input_tokens": 18,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": 0,
        "output_tokens": 7,
        "service_tier": "standard",
    }
    return {
        "id": "msg_01",
        "type": "message",
        "role": "assistant",
        "model": "claude-sonnet-4-5-20250929",
        "content": [{"type": "text", "text": "Hello"}, {"type": "text", "text": " there."}],
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": usage,
        **fields,
    }


def openai_completion(**fields: Any) -> dict[str, Any]:
    """A completion as the chat completions API answers it (its reference, "Create chat completion")."""
    message: dict[str, Any] = {"role": "assistant", "content": "Hello there.", "refusal": None, "annotations": []}
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1741569952,
        "model": "gpt-4o-2024-08-06",
        "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}],
        "usage": {
            "prompt_tokens": 18,
            "completion_tokens": 7,
            "total_tokens": 25,
            "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
            "completion_tokens_details": {"reasoning_tokens": 0},
        },
        **fields,
    }


def error_body(name: Name, kind: str, message: str) -> dict[str, Any]:
    error = {"type": kind, "message": message}
    return {"type": "error", "error": error, "request_id": "req_1"} if name == "anthropic" else {"error": error}


GOOD = {"anthropic": anthropic_message(), "openai": openai_completion()}


@asynccontextmanager
async def connected(name: Name, url: str, timeout_seconds: float = 10.0, **options: Any) -> AsyncIterator[Provider]:
    base = url if name == "anthropic" else f"{url}/v1"
    made = providers.make(
        ProviderOptions(name=name, model="m", base_url=base, timeout_seconds=timeout_seconds, **options)
    )
    try:
        yield made
    finally:
        await made.aclose()


@pytest.fixture(autouse=True)
def keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", "key-of-a-test")
    monkeypatch.setenv("OPENAI_API_KEY", "key-of-a-test")


@pytest.fixture
async def server() -> AsyncIterator[LLMServer]:
    async with serving() as found:
        yield found


@pytest.mark.parametrize("name", NAMES)
async def test_a_call_gives_text_tokens_and_why_it_stopped(server: LLMServer, name: Name) -> None:
    server.will(PATHS[name], Answer(GOOD[name]))
    async with connected(name, server.url) as provider:
        reply = await provider.call(request(), 500)
    assert (reply.text, reply.input_tokens, reply.output_tokens) == ("Hello there.", 18, 7)
    assert reply.stop == {"anthropic": "end_turn", "openai": "stop"}[name]


async def test_anthropic_is_asked_in_its_own_words(server: LLMServer) -> None:
    server.will(PATHS["anthropic"], Answer(GOOD["anthropic"]))
    async with connected("anthropic", server.url) as provider:
        await provider.call(request(), 500)
        await provider.call(request(system=""), 100_000)
    first, second = server.asked(PATHS["anthropic"])
    assert first == {
        "model": "m",
        "max_tokens": 500,
        "messages": [{"role": "user", "content": "Say hello."}],
        "system": "Be brief.",
    }
    assert "system" not in second
    assert second["max_tokens"] == 100_000
    assert any("key-of-a-test" in value for value in server.requests[0][2].values())


async def test_openai_is_asked_in_its_own_words(server: LLMServer) -> None:
    server.will(PATHS["openai"], Answer(GOOD["openai"]))
    async with connected("openai", server.url) as provider:
        await provider.call(request(), 500)
    async with connected("openai", server.url, output_limit_field="max_completion_tokens") as provider:
        await provider.call(request(system=""), 500)
    first, second = server.asked(PATHS["openai"])
    assert first == {
        "model": "m",
        "max_tokens": 500,
        "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Say hello."}],
    }
    assert second["max_completion_tokens"] == 500
    assert "max_tokens" not in second
    assert [message["role"] for message in second["messages"]] == ["user"]
    assert server.requests[0][2]["Authorization"] == "Bearer key-of-a-test"


async def test_what_is_read_from_a_cache_or_into_one_counts_as_input(server: LLMServer) -> None:
    usage = {
        "input_tokens": 18,
        "cache_creation_input_tokens": 100,
        "cache_read_input_tokens": 1000,
        "output_tokens": 7,
    }
    server.will(PATHS["anthropic"], Answer(anthropic_message(usage=usage)))
    async with connected("anthropic", server.url) as provider:
        assert (await provider.call(request(), 500)).input_tokens == 1118


@pytest.mark.parametrize("name", NAMES)
async def test_a_stop_for_a_tool_is_told(server: LLMServer, name: Name) -> None:
    block = {"type": "tool_use", "id": "toolu_1", "name": "search", "input": {"query": "x"}}
    call = {"id": "call_1", "type": "function", "function": {"name": "search", "arguments": "{}"}}
    message: dict[str, Any] = {"role": "assistant", "content": None, "tool_calls": [call]}
    body = {
        "anthropic": anthropic_message(content=[block], stop_reason="tool_use"),
        "openai": openai_completion(choices=[{"index": 0, "message": message, "finish_reason": "tool_calls"}]),
    }[name]
    server.will(PATHS[name], Answer(body))
    async with connected(name, server.url) as provider:
        reply = await provider.call(request(), 500)
    assert (reply.text, reply.stop) == ("", {"anthropic": "tool_use", "openai": "tool_calls"}[name])
    assert (reply.input_tokens, reply.output_tokens) == (18, 7)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    ("status", "kind", "expected"),
    [
        (400, "invalid_request_error", CallRefused),
        (413, "request_too_large", InputRefused),
        (401, "authentication_error", AgentRefused),
        (403, "permission_error", AgentRefused),
        (404, "not_found_error", AgentRefused),
        (408, "timeout", CallUnclear),
        (500, "api_error", CallFailed),
        (502, "bad_gateway", CallUnclear),
        (524, "timeout", CallUnclear),
        (504, "timeout_error", CallUnclear),
        (429, "rate_limit_error", ProviderBusy),
        (503, "overloaded", ProviderBusy),
        (529, "overloaded_error", ProviderBusy),
    ],
)
async def test_each_status_says_what_is_to_be_done(
    server: LLMServer, name: Name, status: int, kind: str, expected: type[ProviderError]
) -> None:
    server.will(PATHS[name], Answer(error_body(name, kind, "so it is"), status))
    async with connected(name, server.url) as provider:
        with pytest.raises(ProviderError, match=f"{name} answered {status}") as caught:
            await provider.call(request(), 500)
    assert type(caught.value) is expected
    assert "so it is" not in str(caught.value), "a provider's words may quote a prompt"
    assert "so it is" in caught.value.full
    assert len(server.requests) == 1, "the SDK tried again by itself"


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    ("headers", "least", "most"),
    [
        ({"Retry-After": "17"}, 17, 17),
        ({"retry-after-ms": "250", "Retry-After": "1"}, 0.25, 0.25),
        ({"Retry-After": format_datetime(datetime.now(UTC) + timedelta(hours=1), usegmt=True)}, 3000, 3600),
        ({"Retry-After": format_datetime(datetime.now(UTC) - timedelta(hours=1), usegmt=True)}, 0, 0),
    ],
)
async def test_a_rate_limit_says_when_to_come_back(
    server: LLMServer, name: Name, headers: dict[str, str], least: float, most: float
) -> None:
    server.will(PATHS[name], Answer(error_body(name, "rate_limit_error", "slow down"), 429, headers))
    async with connected(name, server.url) as provider:
        with pytest.raises(ProviderBusy) as caught:
            await provider.call(request(), 500)
    assert caught.value.retry_after is not None
    assert least <= caught.value.retry_after <= most


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("headers", [{}, {"Retry-After": "soon"}, {"Retry-After": "inf"}, {"Retry-After": "nan"}])
async def test_a_rate_limit_may_not_say_when(server: LLMServer, name: Name, headers: dict[str, str]) -> None:
    server.will(PATHS[name], Answer(error_body(name, "rate_limit_error", "slow down"), 429, headers))
    async with connected(name, server.url) as provider:
        with pytest.raises(ProviderBusy) as caught:
            await provider.call(request(), 500)
    assert caught.value.retry_after is None


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "answer",
    [
        Answer("cut here, before the end", cut=True),
        Answer("{no json"),
        Answer("<html>proxy</html>", headers={"Content-Type": "text/html"}),
        Answer("[]"),
        Answer("null"),
        Answer({"unexpected": True}),
        Answer({"content": None, "choices": []}),
    ],
    ids=["cut", "broken", "html", "list", "null", "other", "empty"],
)
async def test_an_answer_that_cannot_be_read_may_have_been_billed(
    server: LLMServer, name: Name, answer: Answer
) -> None:
    server.will(PATHS[name], answer)
    async with connected(name, server.url) as provider:
        with pytest.raises(CallUnclear) as caught:
            await provider.call(request(), 500)
    assert caught.value.may_be_billed
    assert name in str(caught.value)


@pytest.mark.parametrize("name", NAMES)
async def test_an_answer_that_does_not_come_may_have_been_billed(server: LLMServer, name: Name) -> None:
    server.will(PATHS[name], Answer(hang=True))
    async with connected(name, server.url, timeout_seconds=0.3) as provider:
        with pytest.raises(CallUnclear):
            await provider.call(request(), 500)


@pytest.mark.parametrize("name", NAMES)
async def test_what_was_never_sent_costs_nothing(name: Name) -> None:
    async with connected(name, f"http://127.0.0.1:{free_port()}") as provider:
        with pytest.raises(CallFailed) as caught:
            await provider.call(request(), 500)
    assert not caught.value.may_be_billed
    assert f"{name} cannot be reached" in str(caught.value)


@pytest.mark.parametrize("name", NAMES)
async def test_an_answer_without_its_cost_is_an_answer(server: LLMServer, name: Name) -> None:
    body = {key: value for key, value in GOOD[name].items() if key != "usage"}
    server.will(PATHS[name], Answer(body))
    async with connected(name, server.url) as provider:
        reply = await provider.call(request(), 500)
    assert (reply.text, reply.input_tokens, reply.output_tokens) == ("Hello there.", None, None)


async def test_anthropic_counts_what_is_large_and_not_what_is_small(server: LLMServer) -> None:
    server.will(COUNT, Answer({"input_tokens": 1234}))
    async with connected("anthropic", server.url) as provider:
        small, large = request("x"), request("word " * 1000)
        assert await provider.count(small) == most_tokens(small)
        assert server.requests == []
        assert await provider.count(large) == 1234 + 24, "the count, which is an estimate, and a fiftieth"
    assert server.asked(COUNT)[0]["system"] == "Be brief."


@pytest.mark.parametrize("answer", [Answer("", 404), Answer({"odd": 1})])
async def test_where_the_server_cannot_count_the_input_is_estimated(server: LLMServer, answer: Answer) -> None:
    server.will(COUNT, answer)
    large = request("word " * 1000)
    async with connected("anthropic", server.url) as provider:
        assert await provider.count(large) == estimated_tokens(large, 2)
        assert await provider.count(large) == estimated_tokens(large, 2)
        assert len(server.requests) == 1, "asked again, though it cannot"
        await provider.count(request("word " * 1000, model="other"))
        assert len(server.requests) == 2, "one model's missing count is not the others'"


@pytest.mark.parametrize(
    "answer",
    [
        *(Answer(error_body("anthropic", "x", "no"), status) for status in (400, 401, 403, 404, 429, 500, 503, 529)),
        Answer("{no json"),
        Answer({"input_tokens": "many"}),
        Answer({"type": "error", "error": {"type": "overloaded_error", "message": "no"}}),
        Answer("cut", cut=True),
    ],
)
async def test_where_counting_fails_the_input_is_estimated_since_the_call_may_work(
    server: LLMServer, answer: Answer
) -> None:
    large = request("word " * 1000)
    server.will(COUNT, answer)
    async with connected("anthropic", server.url) as provider:
        assert await provider.count(large) == estimated_tokens(large, 2)


async def test_openai_estimates(server: LLMServer) -> None:
    large = request("word " * 1000)
    async with connected("openai", server.url, bytes_per_token=4) as provider:
        assert await provider.count(large) == estimated_tokens(large, 4)
    assert 1250 <= estimated_tokens(large, 4) < 1500
    rare = request("\u16a0" * 1000, system="")
    assert estimated_tokens(rare, 4) > 3000, "what is no ASCII may be a token for each byte"
    assert estimated_tokens(rare, 4) <= most_tokens(rare)
    assert estimated_tokens(large, 1) == most_tokens(large)
    assert server.requests == []


@pytest.mark.parametrize(
    ("model", "module"),
    [
        ("claude-sonnet-4-5", "ark_agent.providers.anthropic"),
        ("gpt-4o", "ark_agent.providers.openai"),
        ("o3-mini", "ark_agent.providers.openai"),
        ("echo", "ark_agent.providers.echo"),
    ],
)
async def test_a_models_name_tells_its_provider(model: str, module: str) -> None:
    made = providers.make(ProviderOptions(model=model))
    assert type(made).__module__ == module
    await made.aclose()


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (ProviderOptions(model="llama"), "'llama', which does not identify a provider: set --provider"),
        (ProviderOptions(name="openai", model=""), "--model .AGENT_MODEL. is missing"),
        (ProviderOptions(model="claude-x"), "ANTHROPIC_API_KEY is not set"),
        (ProviderOptions(model="gpt-x"), "OPENAI_API_KEY is not set"),
    ],
)
def test_what_is_missing_is_said(monkeypatch: pytest.MonkeyPatch, options: ProviderOptions, problem: str) -> None:
    for name in ("ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN", "OPENAI_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(BadProvider, match=problem):
        providers.make(options)


def test_a_missing_sdk_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "openai", None)
    monkeypatch.delitem(sys.modules, "ark_agent.providers.openai", raising=False)
    with pytest.raises(BadProvider, match="provider openai needs Python package 'openai': install ark with the extra"):
        providers.make(ProviderOptions(model="gpt-x"))


async def test_a_server_of_ones_own_needs_no_key(monkeypatch: pytest.MonkeyPatch, server: LLMServer) -> None:
    monkeypatch.delenv("OPENAI_API_KEY")
    server.will(PATHS["openai"], Answer(GOOD["openai"]))
    async with connected("openai", server.url) as provider:
        assert (await provider.call(request(), 5)).text == "Hello there."


@pytest.mark.parametrize("name", NAMES)
async def test_an_input_that_is_no_text_is_never_sent(server: LLMServer, name: Name) -> None:
    async with connected(name, server.url) as provider:
        assert await provider.count(request("lone \ud800")) > 0
        with pytest.raises(InputRefused, match="is not text that"):
            await provider.call(request("lone \ud800"), 500)
    assert server.requests == []


@pytest.mark.parametrize("url", ["vllm:8000/v1", "ftp://vllm/v1", "http://", "http://[::1/v1"])
@pytest.mark.parametrize("name", NAMES)
def test_a_base_url_that_cannot_be_is_said_at_the_start(monkeypatch: pytest.MonkeyPatch, name: Name, url: str) -> None:
    with pytest.raises(BadProvider, match=r"the provider's base URL .* cannot be used"):
        providers.make(ProviderOptions(name=name, model="m", base_url=url))
    monkeypatch.setenv(f"{name.upper()}_BASE_URL", url)
    with pytest.raises(BadProvider, match=r"the provider's base URL .* cannot be used"):
        providers.make(ProviderOptions(name=name, model="m"))


async def test_an_empty_variable_is_no_base_url(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in NAMES:
        monkeypatch.setenv(f"{name.upper()}_BASE_URL", "")
        made: Any = providers.make(ProviderOptions(name=name, model="m"))
        assert str(made._client.base_url).startswith("https://")
        await made.aclose()


ERRORS_IN_A_SUCCESS: dict[Name, list[Any]] = {
    "anthropic": [
        {"type": "error", "error": {"type": "rate_limit_error", "message": "slow down"}},
        anthropic_message(content=[{"type": "error", "error": {"type": "rate_limit_error"}}]),
    ],
    "openai": [
        {"error": {"code": 429, "message": "slow down"}},
        {"error": {"type": "rate_limit_error", "message": "slow down"}, "choices": []},
        {"object": "error", "code": 429, "message": "slow down"},
        {"code": 429, "msg": "slow down"},
        {"status": 429.0},
        [{"error": {"code": 429}}],
        {"errors": [{"status_code": "429"}]},
        {"error": "slow down", "status": 429},
        {"error": [{"code": 429}]},
        {"error": {"status": 429}},
        openai_completion(choices=[{"index": 0, "message": {"error": {"code": 429}}, "finish_reason": "stop"}]),
        openai_completion(choices=[{"index": 0, "error": {"code": 429, "message": "slow down"}, "message": None}]),
        openai_completion(
            choices=[{"index": 0, "finish_reason": "error", "error": {"code": 429}, "message": {"content": "so f"}}]
        ),
    ],
}


@pytest.mark.parametrize(("name", "body"), [(name, body) for name in NAMES for body in ERRORS_IN_A_SUCCESS[name]])
async def test_an_error_that_comes_as_a_success_is_what_its_status_would_be(
    server: LLMServer, name: Name, body: Any
) -> None:
    server.will(PATHS[name], Answer(body, headers={"Retry-After": "7"}))
    async with connected(name, server.url) as provider:
        with pytest.raises(ProviderBusy) as caught:
            await provider.call(request(), 500)
    assert caught.value.retry_after == 7
    assert not caught.value.may_be_billed


async def test_a_stop_for_an_error_without_one_is_a_failure(server: LLMServer) -> None:
    choice = {"index": 0, "finish_reason": "error", "message": {"role": "assistant", "content": "half"}}
    server.will(PATHS["openai"], Answer(openai_completion(choices=[choice])))
    async with connected("openai", server.url) as provider:
        with pytest.raises(CallFailed):
            await provider.call(request(), 500)


@pytest.mark.parametrize(
    ("message", "text", "stop"),
    [
        ({"content": [{"type": "text", "text": "Hel"}, {"type": "text", "text": "lo"}]}, "Hello", "stop"),
        ({"content": [{"type": "output_text", "text": "Hi"}, {"type": "image_url", "image_url": {}}]}, "Hi", "stop"),
        ({"content": ["Hel", "lo"]}, "Hello", "stop"),
        ({"content": None, "refusal": "I cannot do that."}, "", "refusal"),
        ({"content": "", "refusal": "I cannot do that."}, "", "refusal"),
        ({"content": None}, "", "stop"),
        ({}, "", "stop"),
        ({"content": {"text": "odd"}}, "", "stop"),
        ({"content": [{"type": "refusal", "refusal": "no"}]}, "", "refusal"),
    ],
)
async def test_the_text_of_a_completion_comes_in_many_shapes(
    server: LLMServer, message: dict[str, Any], text: str, stop: str
) -> None:
    choice = {"index": 0, "message": {"role": "assistant", **message}, "finish_reason": "stop"}
    server.will(PATHS["openai"], Answer(openai_completion(choices=[choice])))
    async with connected("openai", server.url) as provider:
        reply = await provider.call(request(), 500)
    assert (reply.text, reply.stop) == (text, stop)


@pytest.mark.parametrize("name", NAMES)
async def test_usage_of_zeros_is_estimated(server: LLMServer, name: Name) -> None:
    zeros = {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0, "input_tokens": 0, "output_tokens": 0}
    server.will(PATHS[name], Answer({**GOOD[name], "usage": zeros}))
    async with connected(name, server.url) as provider:
        reply = await provider.call(request(), 500)
    assert reply.input_tokens == estimated_tokens(request(), 2)
    assert reply.output_tokens == 6, "Hello there."


@pytest.mark.parametrize("name", NAMES)
async def test_the_query_of_a_base_url_goes_with_every_call(server: LLMServer, name: Name) -> None:
    base = f"{server.url}{'' if name == 'anthropic' else '/v1'}?api-version=2026-01-01&x=a%20b"
    server.will(PATHS[name], Answer(GOOD[name]))
    made = providers.make(ProviderOptions(name=name, model="m", base_url=base))
    await made.call(request(), 5)
    await made.aclose()
    assert server.queries == [{"api-version": "2026-01-01", "x": "a b"}]


@pytest.mark.parametrize("url", ["https://u:geheim@h:port/v1", "ftp://h/?key=geheim", "https://h/#geheim"])
def test_a_base_url_that_cannot_be_used_is_not_repeated(url: str) -> None:
    options = ProviderOptions(name="openai", model="m", base_url=url)
    with pytest.raises(BadProvider) as caught:
        providers.make(options)
    assert "geheim" not in f"{caught.value} {options!r}"


def test_every_model_that_the_sdks_name_is_recognised() -> None:
    import typing

    from anthropic.types import Model
    from openai.types import AllModels

    def names(kind: Any) -> list[str]:
        parts = typing.get_args(kind)
        return [name for part in parts for name in ([part] if isinstance(part, str) else names(part))]

    listed = {"openai": [*names(AllModels), "ft:gpt-4o-mini:org::1"], "anthropic": names(Model)}
    for provider, models in listed.items():
        assert len(models) > 10
        for model in models:
            assert providers.name_of(ProviderOptions(model=model)) == provider, model


@pytest.mark.parametrize(
    ("name", "body"),
    [
        ("openai", openai_completion(choices=[{"index": 0, "finish_reason": "content_filter"}])),
        ("openai", openai_completion(choices=[{"index": 0, "finish_reason": "content_filter", "message": None}])),
        ("anthropic", anthropic_message(content=None, stop_reason="refusal")),
    ],
)
async def test_what_was_filtered_without_a_word_is_an_answer_with_its_cost(
    server: LLMServer, name: Name, body: Any
) -> None:
    server.will(PATHS[name], Answer(body))
    async with connected(name, server.url) as provider:
        reply = await provider.call(request(), 500)
    assert (reply.text, reply.stop) == ("", "content_filter" if name == "openai" else "refusal")
    assert reply.input_tokens
    assert reply.output_tokens


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("status", [400, 401, 429, 500])
async def test_no_traceback_of_a_users_shows_the_providers_words(server: LLMServer, name: Name, status: int) -> None:
    server.will(PATHS[name], Answer(error_body(name, "x", "you said: my prompt"), status))
    async with connected(name, server.url) as provider:
        with pytest.raises(ProviderError) as caught:
            await provider.call(request(), 500)
    assert "my prompt" in caught.value.full
    assert "my prompt" not in "".join(traceback.format_exception(caught.value))
    assert caught.value.status == status


async def test_a_count_that_may_be_had_the_next_time_refuses_no_input_for_good(server: LLMServer) -> None:
    large = request("word " * 1000)
    server.will(COUNT, Answer(error_body("anthropic", "x", "no"), 500))
    async with connected("anthropic", server.url) as provider:
        assert isinstance(await provider.count(large), Estimate)
        server.will(COUNT, Answer(error_body("anthropic", "x", "no"), 404))
        assert not isinstance(await provider.count(large), Estimate), "there is no count to be had"
