"""Keep what a handler does to the process to its own task.

``sys.exit()`` deep in a library, a KeyboardInterrupt, or a cancellation that nobody asked for would end the worker, and
with it its neighbours' attempts. Here it is a failed attempt of the one task.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Generator, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, TypeVar

from ark_agent.failures import HandlerCancelled, HandlerExited

_T = TypeVar("_T")
_IN_HANDLER: ContextVar[bool] = ContextVar("in_handler", default=False)


async def contained(
    handle: Callable[[], Awaitable[object]], answer: Callable[[object], _T], dropped: Callable[[], bool]
) -> _T:
    """Run a handler, and make of its answer what is kept of it: the answer's class may be the handler's own.

    Args:
        handle: calls the handler.
        answer: takes what it answered.
        dropped: whether the worker has cancelled it. What asyncio says of that (`Task.cancelling`) is no help: a
            TaskGroup that fails leaves it raised.

    Raises:
        HandlerCancelled: something in it was cancelled that nobody cancelled from here.
        HandlerExited: it asked for the process's end.
    """
    inside = _IN_HANDLER.set(True)
    try:
        return answer(await handle())
    except asyncio.CancelledError as error:
        if dropped():
            raise
        raise HandlerCancelled("the handler awaited something that was cancelled") from error
    except Exception:
        raise
    except BaseException as error:
        raise _exited(error) from error
    finally:
        _IN_HANDLER.reset(inside)


def task_factory(
    loop: asyncio.AbstractEventLoop, work: Coroutine[Any, Any, Any] | Generator[Any, None, Any], **options: Any
) -> asyncio.Task[Any]:
    """Make a task; one that a handler starts is contained as well.

    asyncio lets SystemExit and KeyboardInterrupt of any task through to the event loop, which then ends.
    """
    if _IN_HANDLER.get() and isinstance(work, Coroutine):
        work = _Contained(work)
    return asyncio.Task(work, loop=loop, **options)


class _Contained(Coroutine[Any, Any, Any]):
    """A coroutine, step by step; one that is cancelled before its first step is closed as ever."""

    def __init__(self, inner: Coroutine[Any, Any, Any]) -> None:
        self._inner = inner

    def send(self, value: Any) -> Any:
        with _no_exit():
            return self._inner.send(value)

    def throw(self, *error: Any) -> Any:
        if error[0] is GeneratorExit or isinstance(error[0], GeneratorExit):
            return self._inner.throw(*error)  # somebody closes it
        with _no_exit():
            return self._inner.throw(*error)

    def close(self) -> None:
        self._inner.close()

    def __await__(self) -> Generator[Any, Any, Any]:
        return self._inner.__await__()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)  # what asyncio shows of a task: its code, its frame


@contextmanager
def _no_exit() -> Iterator[None]:
    try:
        yield
    except (SystemExit, KeyboardInterrupt, GeneratorExit) as error:
        raise _exited(error) from error


def _exited(error: BaseException) -> HandlerExited:
    return HandlerExited(f"the handler raised {type(error).__name__}, which asks for the end of the process")
