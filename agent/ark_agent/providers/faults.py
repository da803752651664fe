"""What an error that a provider answered with means: by its status, code, type and parameter, never by its words.

Words are the provider's to change, and a message may quote the task: one that mentions billing is not about billing.
Where the codes leave open whether the task or the agent is to blame, the error says so (`CallRefused`), and what
becomes of other tasks decides (see `ark_agent.calls`).

Sources: OpenAI's API reference ("Error codes", and the codes that its SDK and cookbook test for), Anthropic's
("Errors"), OpenRouter's ("Errors and debugging": errors come with status 200 too, in the body or in a choice). Servers
of others (vLLM, LiteLLM, Ollama, Azure) take these codes over, or send none.
"""

from __future__ import annotations

import contextlib
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Literal

from ark_agent.providers.errors import (
    AgentRefused,
    CallFailed,
    CallRefused,
    CallUnclear,
    InputRefused,
    ProviderBusy,
    ProviderError,
)

_LONGEST_MESSAGE = 64 * 1024
"""Characters; the worker takes known keys out before it shortens a text, so that none is cut in two."""
_LONGEST_WAIT = 86_400.0
"""A day: whoever says more means never."""
_BUSY = frozenset({429, 503, 529})
"""529 is Anthropic's "overloaded"."""
_AGENT = frozenset({401, 402, 403, 404})
_TASK = frozenset({400, 405, 406, 409, 410, 411, 415, 422, 431, 451})
_NOT_FOUND = 404
_TOO_LARGE = 413
_UNCLEAR = frozenset({408, 502, 504, 520, 522, 524})
"""Somebody on the way gave up waiting, or lost the answer: the work may have been done."""
_SETTINGS = frozenset({"max_completion_tokens", "max_output_tokens", "max_tokens"})
"""Parameters that the agent's settings decide."""


@dataclass(frozen=True, slots=True)
class _Code:
    """What one code or type says."""

    why: str
    """Who sends it, and when."""
    blames: Literal["", "input", "account", "model"] = ""
    """What is at fault; empty where the status tells."""
    status: int | None = None
    """The HTTP status that goes with it, where an error comes in the body of a success."""


_CODES: Mapping[str, _Code] = {
    "account_deactivated": _Code("OpenAI: the organisation was closed", "account"),
    "api_error": _Code("Anthropic: a failure of its own", status=500),
    "authentication_error": _Code("Anthropic, OpenAI: the key", "account", 401),
    "badrequesterror": _Code("vLLM, LiteLLM: the class of its exception, in the type; the status tells the rest"),
    "billing_error": _Code("Anthropic: payment", "account", 402),
    "billing_hard_limit_reached": _Code("OpenAI: the organisation's own limit", "account"),
    "billing_not_active": _Code("OpenAI: no payment is set up", "account"),
    "content_filter": _Code("Azure OpenAI: what the prompt says", "input"),
    "content_policy_violation": _Code("OpenAI: what the prompt says", "input"),
    "context_length_exceeded": _Code("OpenAI: too long", "input"),
    "context_window_exceeded": _Code("OpenAI's Responses API: too long", "input"),
    "contextwindowexceedederror": _Code("LiteLLM: the class of its exception, in the type: too long", "input"),
    "insufficient_quota": _Code("OpenAI: the account's credit, with the status of a rate limit", "account", 429),
    "internal_server_error": _Code("OpenAI: a failure of its own", status=500),
    "invalid_api_key": _Code("OpenAI: the key", "account", 401),
    "invalid_prompt": _Code("OpenAI: what the prompt says", "input"),
    "invalid_request_error": _Code("Anthropic, OpenAI: anything about the request", status=400),
    "invalid_value": _Code("OpenAI: a parameter, which is named beside it"),
    "missing_required_parameter": _Code("OpenAI: a parameter, which is named beside it"),
    "model_not_found": _Code("OpenAI: the model", "model", 404),
    "not_found_error": _Code("Anthropic: the model, as nothing else is named in a call", "model", 404),
    "overloaded_error": _Code("Anthropic: everybody's load", status=529),
    "permission_error": _Code("Anthropic: what the key may do", "account", 403),
    "rate_limit_error": _Code("Anthropic: a rate limit", status=429),
    "rate_limit_exceeded": _Code("OpenAI: a rate limit", status=429),
    "request_too_large": _Code("Anthropic: too long", "input", 413),
    "requests": _Code("OpenAI, as the type: the rate limit of requests", status=429),
    "responsibleaipolicyviolation": _Code("Azure OpenAI: what the prompt says", "input"),
    "server_error": _Code("OpenAI: a failure of its own", status=500),
    "string_above_max_length": _Code("OpenAI: too long", "input"),
    "timeout_error": _Code("Anthropic: it took too long", status=504),
    "tokens": _Code("OpenAI, as the type: the rate limit of tokens", status=429),
    "unsupported_parameter": _Code("OpenAI: a parameter, which is named beside it"),
    "unsupported_value": _Code("OpenAI: a parameter, which is named beside it"),
}
"""Codes and types, in small letters. They may be repeated; any other may be whatever the server was sent, a prompt
included. Of everything that a provider answers, these and the statuses are all that is acted on."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One error of a provider, as it was answered."""

    provider: str
    status: int
    """HTTP's, or what the body says in its place."""
    code: str = ""
    kind: str = ""
    """The field ``type``."""
    parameter: str = ""
    message: str = ""

    @property
    def names(self) -> frozenset[str]:
        """Code and type, in small letters."""
        return frozenset({self.code.lower(), self.kind.lower()}) - {""}

    @property
    def blames(self) -> frozenset[str]:
        """What its code and type blame."""
        return frozenset(known.blames for name in self.names if (known := _CODES.get(name)) is not None)

    def __str__(self) -> str:
        """Name provider, status and code, and nothing that may be a text of somebody's."""
        code = next((name for name in (self.code, self.kind) if name.lower() in _CODES), "")
        return f"{self.provider} answered {self.status}{f' {code}' if code else ''}"


def fault_of(provider: str, status: int, body: object, message: str = "") -> Fault:
    """Read an error's body; the SDKs and servers wrap it in ``error`` or not.

    Args:
        provider: its name.
        status: HTTP's.
        body: parsed JSON, or whatever came.
        message: for people, where the body has none.
    """
    inner = body.get("error", body) if isinstance(body, Mapping) else body
    if not isinstance(inner, Mapping):
        return Fault(provider, status, message=str(inner or message)[:_LONGEST_MESSAGE])
    return Fault(
        provider,
        status,
        _text(inner.get("code")),
        _text(inner.get("type")),
        _text(inner.get("param")),
        _text(inner.get("message") or message)[:_LONGEST_MESSAGE],
    )


def fault_in_success(provider: str, error: object) -> Fault:
    """Read an error that came with status 200, in the body or in a choice; its code may be the status."""
    read = fault_of(provider, 0, {"error": error})
    status = status_in(error) if isinstance(error, Mapping) else 0
    return Fault(provider, status or _status_of(read), read.code, read.kind, read.parameter, read.message)


def error_of(fault: Fault, headers: Mapping[str, str]) -> ProviderError:
    """Return what is to be done about an error."""
    error = _error_of(fault, headers)
    error.status = fault.status
    return error


def error_in_success(provider: str, error: object, headers: Mapping[str, str]) -> ProviderError:
    """Return what is to be done about an error that came with status 200: the same, but that nothing was done for it.

    Whoever answers so has an answer for the call, and it is that there is none to be billed.
    """
    found = error_of(fault_in_success(provider, error), headers)
    return CallFailed(str(found), found.detail) if found.may_be_billed else found


def _error_of(fault: Fault, headers: Mapping[str, str]) -> ProviderError:
    """The first rule that fits counts."""
    status, text, detail = fault.status, str(fault), fault.message
    if status == _TOO_LARGE or "input" in fault.blames:
        return InputRefused(text, detail)
    if status in _BUSY and "account" not in fault.blames:
        return ProviderBusy(text, retry_after(headers, datetime.now(UTC)), detail=detail)
    about_model = status == _NOT_FOUND or "model" in fault.blames or fault.parameter == "model"
    if status in _AGENT or about_model or "account" in fault.blames:
        return AgentRefused(text, detail, about_model=about_model)
    if status in _TASK:
        return AgentRefused(text, detail) if fault.parameter in _SETTINGS else CallRefused(text, detail)
    return CallUnclear(text, detail) if status in _UNCLEAR else CallFailed(text, detail)


def retry_after(headers: Mapping[str, str], now: datetime) -> float | None:
    """Read when to come back, seconds: ``retry-after-ms``, or ``Retry-After``, number or date (RFC 9110, 10.2.3)."""
    for name, unit in (("retry-after-ms", 1000.0), ("retry-after", 1.0)):
        with contextlib.suppress(KeyError, ValueError):
            seconds = float(headers[name]) / unit
            if math.isfinite(seconds):
                return min(_LONGEST_WAIT, max(0.0, seconds))
    # A date without a zone, or in the year 9999, is no moment that can be reckoned with everywhere.
    with contextlib.suppress(ValueError, OverflowError, TypeError):
        moment = parsedate_to_datetime(headers.get("retry-after", ""))
        zoned = moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
        return min(_LONGEST_WAIT, max(0.0, (zoned - now).total_seconds()))
    return None


def status_in(body: Mapping[str, Any]) -> int:
    """Return the HTTP status that a body says; 0 where it says none."""
    for name in ("code", "status", "status_code"):
        said = body.get(name)
        text = str(int(said)) if isinstance(said, float) and said.is_integer() else str(said)
        if re.fullmatch(r"[1-5]\d\d", text, re.ASCII):
            return int(text)
    return 0


def _status_of(fault: Fault) -> int:
    known = (_CODES[name].status for name in sorted(fault.names) if name in _CODES)
    return next((status for status in known if status is not None), 500)


def _text(value: Any) -> str:
    return "" if value is None or isinstance(value, (dict, list)) else str(value)
