"""Cancellation that is not lost while Redis is asked."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def cancellable() -> Iterator[None]:
    """Raise a cancellation again that came while Redis was asked and that redis-py swallowed.

    It sends with `asyncio.wait_for`, which before Python 3.12 drops a cancellation that comes just when the sending is
    done (python/cpython#86296); a worker that is told to stop at that moment would go on for ever.
    """
    task = asyncio.current_task()
    before = _cancellations_delivered(task)
    try:
        yield
    except asyncio.CancelledError:
        raise
    except BaseException as error:
        if task and task.cancelling() > before:
            raise asyncio.CancelledError from error
        raise
    if task and task.cancelling() > before:
        raise asyncio.CancelledError


def _cancellations_delivered(task: asyncio.Task[Any] | None) -> int:
    """Return how many cancellations a task has seen already.

    One that came while the task was running, as from a signal's handler, is delivered at its next wait, which may be
    the very one that swallows it; asyncio keeps that in an attribute of no official standing.
    """
    if task is None:
        return 0
    return task.cancelling() - bool(getattr(task, "_must_cancel", False))
