"""A producer for programs without an event loop: Django, Flask, Celery, a script.

An event loop runs in a thread of its own, and every call waits for what it does there. So one `SyncProducer` serves all
threads of a process.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Coroutine, Mapping
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
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="ark-producer", daemon=True)
        self._thread.start()

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
        """Close the connections; what other threads still wait for is cancelled."""
        if self._loop.is_closed() or self._process != os.getpid():
            return
        self._wait(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _end(self) -> None:
        waiting = asyncio.all_tasks() - {asyncio.current_task()}
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        await self._client.aclose()

    def _wait(self, operation: Coroutine[Any, Any, _T]) -> _T:
        if self._loop.is_closed() or self._process != os.getpid():
            operation.close()
            state = "is closed" if self._loop.is_closed() else "was made before a fork: make one in each process"
            raise RuntimeError(f"this SyncProducer {state}")
        done = asyncio.run_coroutine_threadsafe(operation, self._loop)
        try:
            return done.result()
        except BaseException:
            done.cancel()  # Ctrl-C while it waits
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __del__(self) -> None:
        with suppress(Exception):
            self.close()
