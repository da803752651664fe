"""redis-py's errors as this package's: what was being done, whether it passes, and what it means."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from redis.exceptions import (
    AskError,
    BusyLoadingError,
    ClusterError,
    ConnectionError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisClusterException,
    RedisError,
    ResponseError,
    TimeoutError,
    TryAgainError,
)

from ark_taskqueue.errors import RedisRefused, RedisUnavailable, TaskQueueError, UnknownFormat
from ark_taskqueue.redis.cancellation import cancellable

_PASSING = (
    ConnectionError,
    TimeoutError,
    BusyLoadingError,
    ReadOnlyError,  # the server was a primary and is not any more: the next connection finds the new one
    TryAgainError,
    AskError,
    ClusterError,
    RedisClusterException,
    OSError,
    EOFError,
)
_PASSING_CODES = ("UNBLOCKED", "BUSY ", "MISCONF", "NOREPLICAS", "OOM")
"""Codes of errors that pass, and that redis-py has no class of its own for: a primary was demoted under a blocked
read, a script runs too long, the disk or the memory is full, replicas are missing."""

_UNKNOWN_FORMAT = re.compile(r"ARKFORMAT (\S+) (\d+)")
"""What scripts answer for a queue that a later version has written (``format.lua``); Redis 6.2 may put words
around it."""


@contextmanager
def translated(doing: str) -> Iterator[None]:
    """Turn redis-py's errors into this package's, with what was being done in the message."""
    try:
        with cancellable():
            yield
    except ResponseError as error:
        raise from_response(error, doing) from error
    except _PASSING as error:
        raise RedisUnavailable(f"cannot {doing}: {_explained(error)}") from error
    except RedisError as error:
        raise RedisRefused(f"cannot {doing}: {_explained(error)}") from error


def error_of(reply: Any, doing: str) -> TaskQueueError | None:
    """Return this package's error where one stands in the place of a reply of a pipeline; None for a reply."""
    if isinstance(reply, ResponseError):
        return from_response(reply, doing)
    if isinstance(reply, Exception):
        return RedisUnavailable(f"cannot {doing}: {_explained(reply)}")
    return None


def _explained(error: Exception) -> str:
    """Return what an error says, and what it means where it does not say that.

    Redis repeats the arguments of a command that it does not know, and those of AUTH are user and password.
    """
    said = str(error).partition(", with args beginning with")[0] or type(error).__name__
    if type(error) is ClusterError or isinstance(error, (AskError, TryAgainError)):
        return f"no Cluster node serves the key, as happens while its slot is being moved ({said})"
    return said


def from_response(error: ResponseError, doing: str) -> RedisRefused | RedisUnavailable:
    """Return this package's error for an error reply."""
    if match := _UNKNOWN_FORMAT.search(str(error)):
        return UnknownFormat(doing, match[1], match[2])
    passing = isinstance(error, (*_PASSING, OutOfMemoryError)) or str(error).startswith(_PASSING_CODES)
    return (RedisUnavailable if passing else RedisRefused)(f"cannot {doing}: {_explained(error)}")
