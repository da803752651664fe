"""A producer for programs without an event loop: Django, Flask, Celery, a script.

An event loop runs in a thread of its own, and every call waits for what it does there. So one `SyncProducer` serves all
threads of a process.
"""

from __future__ import annotations

import asyncio
import os
import threading
import weakref
from collections.abc import Coroutine, Mapping
from concurrent.futures import CancelledError
from contextlib import suppress
from types import TracebackType
from typing import Any, Self, TypeVar

from ark_taskqueue.keys import QueueKeys
from ark_taskqueue.priority import Priority
from ark_taskqueue.redis.address import Address
from ark_taskqueue.redis.client import connect
from ark_taskqueue.tasks.producer import DEFAULT_MAX_DEPTH, Cancelled, Producer, Submission
from ark_taskqueue.tasks.state import TaskState
from ark_taskqueue.tasks.task import Result

_T = TypeVar("_T")


class SyncProducer:
    """Submits tasks to one queue and reads their results; raises what `Producer` raises.

    May be used by any number of threads, until `close`. It does not survive a fork: make it in the process that uses
    it.

    Args:
        url: of Redis.
        queue: the queue.
        max_depth: see `Producer`.
        timeout: the most that Redis may take to answer, seconds.
    """

    def __init__(
        self, url: str | Address, queue: QueueKeys, *, max_depth: int = DEFAULT_MAX_DEPTH, timeout: float = 5.0
    ) -> None:
        self._client = connect(url, timeout=timeout)
        self._producer = Producer(self._client, queue, max_depth)
        self._process = os.getpid()
        self._lock = threading.Lock()
        """Between a call that begins and the end."""
        self._is_closed = False
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=_run, args=(self._loop,), name="ark-producer", daemon=True)
        try:
            self._thread.start()
        except RuntimeError:
            self._loop.close()
            raise
        # Where nobody closes it: nothing may be waited for then, since at the process' end the thread is frozen.
        self._stop = weakref.finalize(self, _stop, self._loop)

    def submit(
        self,
        prompt: str = "",
        *,
        fields: Mapping[str, str] | None = None,
        meta: Mapping[str, Any] | None = None,
        traceparent: str | None = None,
        idempotency_key: str | None = None,
        priority: Priority = "normal",
    ) -> Submission:
        """Add a task to the queue; see `Producer.submit`."""
        return self._wait(
            self._producer.submit(
                prompt,
                fields=fields,
                meta=meta,
                traceparent=traceparent,
                idempotency_key=idempotency_key,
                priority=priority,
            )
        )

    def cancel(self, task_id: str) -> Cancelled:
        """Cancel a task; see `Producer.cancel`."""
        return self._wait(self._producer.cancel(task_id))

    def state(self, task_id: str) -> TaskState:
        """Return where a task is; see `Producer.state`."""
        return self._wait(self._producer.state(task_id))

    def result(self, task_id: str) -> Result | None:
        """Return a task's result; None while it is not finished; see `Producer.result`."""
        return self._wait(self._producer.result(task_id))

    def wait_for_result(self, task_id: str, timeout: float | None = None) -> Result:
        """Wait until a task is finished; see `Producer.wait_for_result`.

        Args:
            task_id: of the task.
            timeout: the most to wait, seconds; None for as long as it takes.

        Raises:
            TimeoutError: it was not finished by then; it stays in the queue.
        """

        async def bounded() -> Result:
            async with asyncio.timeout(timeout):
                return await self._producer.wait_for_result(task_id)

        return self._wait(bounded())

    def close(self) -> None:
        """Close the connections; whoever still waits for something gets an error. Does nothing the second time."""
        if self._process != os.getpid():
            return
        with self._lock:
            if self._is_closed:
                return
            self._is_closed = True
        try:
            asyncio.run_coroutine_threadsafe(self._end(), self._loop).result()
        finally:
            self._stop()
            self._thread.join()

    async def _end(self) -> None:
        waiting = asyncio.all_tasks() - {asyncio.current_task()}
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        await self._client.aclose()

    def _wait(self, operation: Coroutine[Any, Any, _T]) -> _T:
        if self._process != os.getpid():
            operation.close()
            raise RuntimeError("this SyncProducer was made before a fork: make one in each process")
        with self._lock:
            if self._is_closed:
                operation.close()
                raise RuntimeError("this SyncProducer is closed")
            done = asyncio.run_coroutine_threadsafe(operation, self._loop)
        try:
            return done.result()
        except CancelledError:
            raise RuntimeError("this SyncProducer was closed meanwhile") from None
        except BaseException:
            done.cancel()  # Ctrl-C while it waits
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _run(loop: asyncio.AbstractEventLoop) -> None:
    try:
        loop.run_forever()
    finally:
        loop.close()


def _stop(loop: asyncio.AbstractEventLoop) -> None:
    with suppress(RuntimeError):  # it is closed
        loop.call_soon_threadsafe(loop.stop)
