"""What can go wrong with an LLM call, by what is to be done about it.

    ProviderError
    ├── CallFailed       there is no answer; the task's attempt fails
    ├── CallUnclear      the same, but the provider may have done, and billed, the work
    ├── CallRefused      the task asks for what cannot be; it fails for good
    ├── AgentRefused     the agent's key or model is refused: no task can be done, and none is blamed for it
    └── ProviderBusy     rate limit or overload: wait; it is no attempt
    BadProvider          the provider cannot be made from the settings

HTTP statuses mean the same to the providers that speak HTTP: `of_status`.
"""

from __future__ import annotations

import contextlib
import math
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

_LONGEST_MESSAGE = 500
_BUSY = frozenset({429, 503, 529})
"""529 is Anthropic's "overloaded" (its API's documentation, "Errors")."""
_AGENT = frozenset({401, 402, 403, 404})
_NOT_FOUND = 404
_TASK = frozenset({400, 413, 422})
_UNCLEAR = frozenset({408, 502, 504, 520, 524})
"""Somebody on the way gave up waiting, or lost the answer: the work may have been done."""
_ABOUT_THE_AGENT = re.compile(
    r"credit balance|usage limit|billing|quota|api[ _-]?key|max_tokens|max_completion_tokens", re.IGNORECASE
)
"""What a 400 says that is about the account or the settings, and not about the task: Anthropic answers 400 for an empty
account, and servers of others for keys and output limits."""


class BadProvider(Exception):
    """The provider cannot be made; the message says what to set."""


class ProviderError(Exception):
    """There is no answer."""

    may_be_billed = False
    """Whether the call may have cost tokens all the same."""


class CallFailed(ProviderError):
    """The call was not made, or failed at the provider."""


class CallUnclear(ProviderError):
    """The call was made, and what came of it is not known: too late, cut off, or not to be read."""

    may_be_billed = True


class CallRefused(ProviderError):
    """The provider does not take what the task asks."""


class AgentRefused(ProviderError):
    """The provider does not take the agent's key, its account or its settings, or does not have its model."""

    def __init__(self, message: str, *, about_model: bool = False) -> None:
        super().__init__(message)
        self.about_model = about_model
        """Whether another model would be taken."""


class ProviderBusy(ProviderError):
    """The provider asks to come back later."""

    def __init__(self, message: str, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after
        """Seconds; None where the provider does not say."""


_NEVER_SENT = frozenset(
    {
        "ConnectError",
        "ConnectTimeout",
        "InvalidURL",
        "LocalProtocolError",
        "PoolTimeout",
        "ProxyError",
        "UnsupportedProtocol",
    }
)


def of_status(provider: str, status: int, message: str, headers: Mapping[str, str]) -> ProviderError:
    """Answer what an HTTP status other than success means."""
    text = f"{provider} answered {status}: {message[:_LONGEST_MESSAGE]}"
    if status in _BUSY:
        return ProviderBusy(text, _retry_after(headers, datetime.now(UTC)))
    if status in _AGENT or (status in _TASK and _ABOUT_THE_AGENT.search(message)):
        return AgentRefused(text, about_model=status == _NOT_FOUND)
    return CallRefused(text) if status in _TASK else CallUnclear(text) if status in _UNCLEAR else CallFailed(text)


def of_connection(provider: str, error: Exception) -> ProviderError:
    """Answer what a connection's failure means; what was not sent was not done."""
    cause = error.__cause__ or error
    text = f"{provider} cannot be reached: {cause or type(cause).__name__}"
    # By their names, since each SDK brings an HTTP library of its own choice.
    if type(cause).__name__ in _NEVER_SENT:
        return CallFailed(text)
    return CallUnclear(f"{provider} did not answer in full: {cause or ''} ({type(cause).__name__})")


def _retry_after(headers: Mapping[str, str], now: datetime) -> float | None:
    """Read when to come back, seconds: ``retry-after-ms``, or ``Retry-After``, number or date (RFC 9110, 10.2.3)."""
    for name, unit in (("retry-after-ms", 1000.0), ("retry-after", 1.0)):
        with contextlib.suppress(KeyError, ValueError):
            seconds = float(headers[name]) / unit
            if math.isfinite(seconds):
                return max(0.0, seconds)
    given = headers.get("retry-after", "")
    with contextlib.suppress(ValueError):
        moment = parsedate_to_datetime(given)
        return max(0.0, (moment.astimezone(UTC) - now).total_seconds())
    return None
