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
from typing import Any

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
_INPUT = frozenset(
    {
        "content_filter",
        "content_policy_violation",
        "context_length_exceeded",
        "context_window_exceeded",
        "invalid_prompt",
        "request_too_large",
        "responsibleaipolicyviolation",
        "string_above_max_length",
        "contextwindowexceedederror",
    }
)
"""Codes and types that blame the input: its length, or what it says."""
_ACCOUNT = frozenset(
    {
        "account_deactivated",
        "authentication_error",
        "billing_error",
        "billing_hard_limit_reached",
        "billing_not_active",
        "insufficient_quota",
        "invalid_api_key",
        "permission_error",
    }
)
"""Codes and types that blame the agent's key or account."""
_MODEL = frozenset({"model_not_found", "not_found_error"})
_SETTINGS = frozenset({"max_completion_tokens", "max_output_tokens", "max_tokens"})
"""Parameters that the agent's settings decide."""
_STATUSES: Mapping[str, int] = {
    "api_error": 500,
    "authentication_error": 401,
    "billing_error": 402,
    "insufficient_quota": 429,
    "internal_server_error": 500,
    "invalid_api_key": 401,
    "invalid_request_error": 400,
    "model_not_found": 404,
    "not_found_error": 404,
    "overloaded_error": 529,
    "permission_error": 403,
    "rate_limit_error": 429,
    "rate_limit_exceeded": 429,
    "request_too_large": 413,
    "requests": 429,
    "server_error": 500,
    "timeout_error": 504,
    "tokens": 429,
}
"""The HTTP status that goes with a code or type, where an error comes in the body of a success."""
_KNOWN = (
    _INPUT
    | _ACCOUNT
    | _MODEL
    | _STATUSES.keys()
    | {"badrequesterror", "invalid_value", "unsupported_parameter", "unsupported_value", "missing_required_parameter"}
)
"""Codes that are repeated; any other may be whatever the server was sent, a prompt included."""


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

    def __str__(self) -> str:
        """Name provider, status and code, and nothing that may be a text of somebody's."""
        code = next((name for name in (self.code, self.kind) if name.lower() in _KNOWN), "")
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
    if status == _TOO_LARGE or fault.names & _INPUT:
        return InputRefused(text, detail)
    if status in _BUSY and not fault.names & _ACCOUNT:
        return ProviderBusy(text, retry_after(headers, datetime.now(UTC)), detail=detail)
    about_model = status == _NOT_FOUND or bool(fault.names & _MODEL) or fault.parameter == "model"
    if status in _AGENT or about_model or fault.names & _ACCOUNT:
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
    return next((_STATUSES[name] for name in sorted(fault.names) if name in _STATUSES), 500)


def _text(value: Any) -> str:
    return "" if value is None or isinstance(value, (dict, list)) else str(value)
