"""What is said of a failure, and where.

A dead letter gets all of it: it has the prompt anyway. Logs, spans and the HTTP endpoint are read by others, and an
exception's text may quote a prompt, an answer or a key; so there it is the kind of the failure, and the text only where
it is this project's own.
"""

from __future__ import annotations

from ark_agent.gate import NotNow
from ark_agent.providers.errors import ProviderError
from ark_taskqueue import TaskQueueError


class HandlerCancelled(Exception):
    """A handler ended with a cancellation that was not the worker's."""


class HandlerExited(Exception):
    """A handler asked for the end of the process."""


class NotStorable(Exception):
    """A handler answered what cannot be stored."""


class TooLate(Exception):
    """An attempt's time was over."""


_OWN = (HandlerCancelled, HandlerExited, NotStorable, ProviderError, TaskQueueError, TooLate)
"""Errors whose texts are written here, and repeat nothing of a task's."""


def shown(error: BaseException) -> str:
    """Return what logs and spans say of an error."""
    kind = type(error).__name__
    # A user's own NotNow may say anything; of its subclasses the texts are ours.
    own = isinstance(error, _OWN) or (isinstance(error, NotNow) and type(error) is not NotNow)
    return f"{kind}: {error}" if own else kind


def full(error: BaseException) -> str:
    """Return all that there is to say of an error, for the dead letter."""
    if isinstance(error, TooLate):
        return str(error)
    try:
        text = error.full if isinstance(error, ProviderError) else str(error)
    except Exception:  # noqa: BLE001 - an exception of a user's whose text raises another one
        text = "its text cannot be read"
    return f"{type(error).__name__}: {text}"
