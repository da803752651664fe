"""What a provider's error means goes by its codes: whatever its message says, the outcome is the same."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from ark_agent.providers.errors import (
    AgentRefused,
    CallFailed,
    CallRefused,
    CallUnclear,
    InputRefused,
    ProviderBusy,
    ProviderError,
    no_text,
)
from ark_agent.providers.faults import error_in_success, error_of, fault_of, retry_after

WORDS = (
    "so it is",
    "Your credit balance is too low, see billing; the quota of max_tokens for this api key is used up",
    "prompt is too long: context length exceeded",
    "",
)


@pytest.mark.parametrize("words", WORDS)
@pytest.mark.parametrize(
    ("status", "error", "expected"),
    [
        (400, {"type": "invalid_request_error"}, CallRefused),
        (400, {"code": "context_length_exceeded", "param": "messages"}, InputRefused),
        (400, {"code": "string_above_max_length", "param": "messages[0].content"}, InputRefused),
        (400, {"code": "content_policy_violation"}, InputRefused),
        (400, {"code": "content_filter", "type": None}, InputRefused),
        (400, {"code": "invalid_value", "param": "max_tokens"}, AgentRefused),
        (400, {"code": "unsupported_parameter", "param": "max_completion_tokens"}, AgentRefused),
        (400, {"code": "model_not_found"}, AgentRefused),
        (400, {"code": 400, "type": "BadRequestError"}, CallRefused),
        (401, {"code": "invalid_api_key"}, AgentRefused),
        (402, {"type": "billing_error"}, AgentRefused),
        (403, {"type": "permission_error"}, AgentRefused),
        (404, {"type": "not_found_error"}, AgentRefused),
        (413, {"type": "request_too_large"}, InputRefused),
        (422, {}, CallRefused),
        (429, {"code": "rate_limit_exceeded", "type": "tokens"}, ProviderBusy),
        (429, {"code": "insufficient_quota"}, AgentRefused),
        (408, {}, CallUnclear),
        (500, {"type": "api_error"}, CallFailed),
        (504, {}, CallUnclear),
        (529, {"type": "overloaded_error"}, ProviderBusy),
    ],
)
def test_an_error_is_judged_by_its_codes_and_not_by_its_words(
    words: str, status: int, error: dict[str, Any], expected: type[ProviderError]
) -> None:
    made = error_of(fault_of("openai", status, {"error": {**error, "message": words}}), {})
    assert type(made) is expected
    assert not words or words not in str(made)
    assert words in made.full


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        ({"code": 429, "message": "slow down"}, ProviderBusy),
        ({"code": "429", "message": "slow down"}, ProviderBusy),
        ({"code": 502, "message": "upstream"}, CallFailed),
        ({"code": 401, "message": "no auth"}, AgentRefused),
        ({"type": "overloaded_error"}, ProviderBusy),
        ({"code": "rate_limit_exceeded"}, ProviderBusy),
        ({"code": "context_length_exceeded"}, InputRefused),
        ({"code": 413}, InputRefused),
        ({"message": "who knows"}, CallFailed),
        ("a text alone", CallFailed),
        (["odd"], CallFailed),
        ({}, CallFailed),
    ],
)
def test_an_error_in_a_success_is_handled_like_its_status(error: object, expected: type[ProviderError]) -> None:
    found = error_in_success("openai", error, {})
    assert type(found) is expected
    assert not found.may_be_billed


@pytest.mark.parametrize("code", ["hello", "say: my prompt", "x" * 65, "line\nbreak", {"a": 1}])
def test_a_code_that_is_a_text_is_not_repeated(code: Any) -> None:
    assert str(error_of(fault_of("openai", 400, {"error": {"code": code}}), {})) == "openai answered 400"


@pytest.mark.parametrize("body", [None, "text", ["x"], 3, {"error": "x"}, {"error": {"code": None}}, {"detail": "x"}])
def test_any_body_is_an_error(body: object) -> None:
    assert str(error_of(fault_of("openai", 500, body, "so"), {})) == "openai answered 500"


NOW = datetime(2026, 11, 26, tzinfo=UTC)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "Fri, 31 Dec 9999 23:59:59 GMT"}, 86_400),
        ({"retry-after": "Fri, 31 Dec 9999 23:59:59 -1200"}, 86_400),
        ({"retry-after": "Mon, 01 Jan 0001 00:00:00 +1200"}, 0),
        ({"retry-after": "Thu, 26 Nov 2026 00:00:10"}, 10),
        ({"retry-after": "1e300"}, 86_400),
        ({"retry-after": "-5"}, 0),
        ({"retry-after-ms": "nan", "retry-after": "7"}, 7),
        ({"retry-after": "soon"}, None),
        ({"retry-after": ""}, None),
        ({}, None),
    ],
)
def test_when_to_come_back_is_bounded(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after(headers, NOW) == seconds


def test_why_an_llm_gave_no_text_is_named_where_it_is_a_name() -> None:
    assert "stopped with content_filter" in str(no_text("content_filter"))
    assert str(no_text("prompt")) == "the LLM gave no text and named no known reason"
    assert no_text("prompt").full.endswith("prompt")
