"""What can go wrong with an LLM call, by what is to be done about it.

    ProviderError
    ├── CallFailed       there is no answer; the task's attempt fails
    ├── CallUnclear      the same, but the provider may have done, and billed, the work
    ├── InputRefused     the provider blames what the task asks; it fails for good
    ├── NoText           the LLM has stopped without an answer, and says why; it fails for good
    ├── CallRefused      the provider refuses, and does not say whether the task or the agent is to blame
    ├── AgentRefused     the provider blames the agent's key, account, settings or model
    └── ProviderBusy     rate limit or overload: wait; it is no attempt
    BadProvider          the provider cannot be made from the settings

An error's text names provider, status and error code, and repeats nothing that the provider wrote: that may quote the
prompt or the key, and the text goes into logs, spans and answers of the HTTP endpoint. What the provider wrote is in
`ProviderError.detail`, which only the dead letter gets.
"""

from __future__ import annotations

from ark_taskqueue import CLEAN_STOPS

TOOL_STOPS = frozenset({"tool_use", "tool_calls", "function_call"})
"""An LLM that stops for one of these wants something done, and may say nothing before."""
_STOPS = frozenset(
    {
        "content_filter",
        "error",
        "length",
        "max_tokens",
        "model_context_window_exceeded",
        "pause_turn",
        "recitation",
        "refusal",
        "safety",
    }
)
"""Reasons to stop without an answer, as providers name them; any other may be a text, and is not repeated."""


class BadProvider(Exception):
    """The provider cannot be made; the message says what to set."""


class ProviderError(Exception):
    """There is no answer.

    Args:
        message: what failed, without a word of the provider's.
        detail: the provider's own words.
    """

    may_be_billed = False
    """Whether the call may have cost tokens all the same."""

    def __init__(self, message: str, detail: str = "") -> None:
        super().__init__(message)
        self.detail = detail
        self.status: int | None = None
        """HTTP's, where there was an answer."""

    @property
    def full(self) -> str:
        """The message with the provider's own words."""
        return f"{self}: {self.detail}" if self.detail else str(self)


class CallFailed(ProviderError):
    """The call was not made, or failed at the provider."""


class CallUnclear(ProviderError):
    """The call was made, and what came of it is not known: too late, cut off, or not to be read."""

    may_be_billed = True


class InputRefused(ProviderError):
    """The provider does not take what the task asks: too long, not allowed, or no text."""


class NoText(ProviderError):
    """The LLM stopped without an answer: it refused, was filtered, or ran into a limit. Its cost is known."""


def is_known_stop(stop: str) -> bool:
    """Return whether a reason to stop is one of the usual names, and no text of somebody's."""
    return stop.lower() in _STOPS | CLEAN_STOPS | TOOL_STOPS


def no_text(stop: str) -> NoText:
    """Return the error for a call that was answered without a text, and stopped for such a reason."""
    named = is_known_stop(stop)
    return NoText(
        f"the LLM gave no text and stopped with {stop}" if named else "the LLM gave no text and named no known reason",
        "" if named else stop,
    )


class CallRefused(ProviderError):
    """The provider refuses the call and leaves open whose fault it is."""


class AgentRefused(ProviderError):
    """The provider does not take the agent's key, its account or its settings, or does not have its model."""

    def __init__(self, message: str, detail: str = "", *, about_model: bool = False) -> None:
        super().__init__(message, detail)
        self.about_model = about_model
        """Whether another model would be taken."""


class ProviderBusy(ProviderError):
    """The provider asks to come back later."""

    def __init__(self, message: str, retry_after: float | None = None, *, detail: str = "") -> None:
        super().__init__(message, detail)
        self.retry_after = retry_after
        """Seconds; None where the provider does not say."""
