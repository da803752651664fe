"""What is said of a failure, and where.

A dead letter gets all of it: it has the prompt anyway. Logs, spans and the HTTP endpoint are read by others, and an
exception's text may quote a prompt, an answer or a key; so there it is the kind of the failure, and the text only where
it is this project's own.
"""

from __future__ import annotations

from ark_agent.gate import Postponed, RefusedForNow
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
from ark_taskqueue import BudgetExceeded, RedisRefused, RedisUnavailable


class Rejected(Exception):
    """A handler does not want a task as it is: it becomes a dead letter at once, with this as its reason."""


class HandlerCancelled(Exception):
    """A handler ended with a cancellation that was not the worker's."""


class HandlerExited(Exception):
    """A handler asked for the end of the process."""


class NotBuried(Exception):
    """A task failed as often as it may, and is still there."""


class NotStorable(Exception):
    """A handler answered what cannot be stored."""


class TooLate(Exception):
    """An attempt's time was over."""


_OWN = frozenset(
    {
        AgentRefused,
        BudgetExceeded,
        CallFailed,
        CallRefused,
        CallUnclear,
        HandlerCancelled,
        HandlerExited,
        InputRefused,
        NoText,
        NotBuried,
        NotStorable,
        Postponed,
        ProviderBusy,
        RedisRefused,
        RedisUnavailable,
        RefusedForNow,
        TooLate,
    }
)
"""Errors whose texts are written here, and repeat nothing of a task's. These very classes: a handler may raise one that
it has derived from them, and those that are there for it to raise or to catch are not among them."""


def is_final(error: BaseException) -> bool:
    """Return whether another attempt would only fail again, and be paid for again."""
    return isinstance(error, (NotBuried, Rejected, InputRefused, NoText, NotStorable))


def shown(error: BaseException) -> str:
    """Return what logs and spans say of an error."""
    kind = type(error).__name__
    return f"{kind}: {error}" if type(error) in _OWN else kind


def full(error: BaseException) -> str:
    """Return all that there is to say of an error, for the dead letter."""
    if isinstance(error, TooLate):
        return str(error)
    try:
        text = error.full if isinstance(error, ProviderError) else str(error)
    except BaseException:  # noqa: BLE001 - an exception of a user's whose text raises another one, or exits
        text = "its message cannot be read"
    return f"{type(error).__name__}: {text}"
