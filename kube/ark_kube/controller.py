"""A controller: workers that take keys from a workqueue and reconcile them, one by one and side by side.

What reconciling means is the caller's. It gets a key and nothing else, answers when it wants to see the key again, and
may fail: the key comes back with its backoff, and no other key waits for it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Generic, Literal, Protocol, TypeVar

import structlog

from ark_kube.errors import ApiError, ApiUnavailable
from ark_kube.workqueue import WorkQueue

K = TypeVar("K")
Result = Literal["success", "error", "requeue_after"]


class Failed(Exception):
    """A reconcile did what it could, and is to be tried again; the message says why, for a person."""


class ControllerMetrics(Protocol):
    """What is told of a controller; the meanings are those of controller-runtime's ``controller_runtime_*`` metrics."""

    def reconciled(self, result: Result, seconds: float) -> None:
        """A reconcile ended."""

    def active(self, workers: int) -> None:
        """So many workers are at work."""


class Controller(Generic[K]):
    """Reconciles the keys of one workqueue.

    Args:
        queue: the keys.
        reconcile: makes one key's object as it should be; answers the seconds after which it wants to see it again.
        metrics: is told what happens.
        workers: keys that are worked on at a time.
        longest_seconds: a reconcile that takes longer is cancelled, and counts as failed.
    """

    def __init__(
        self,
        queue: WorkQueue[K],
        reconcile: Callable[[K], Awaitable[float | None]],
        metrics: ControllerMetrics,
        *,
        workers: int,
        longest_seconds: float = 120.0,
    ) -> None:
        self._queue = queue
        self._reconcile = reconcile
        self._metrics = metrics
        self._workers = workers
        self._longest_seconds = longest_seconds
        self._active = 0
        self._said: dict[K, str] = {}
        """What the last failure of a key was: it is said once, however often the same comes of trying again."""
        self._log = structlog.get_logger(component="controller")

    async def run(self) -> None:
        """Work until cancelled; what is under way is cancelled then."""
        async with asyncio.TaskGroup() as group:
            for _ in range(self._workers):
                group.create_task(self._work())

    async def _work(self) -> None:
        while True:
            key = await self._queue.get()
            self._active += 1
            self._metrics.active(self._active)
            try:
                await self._work_on(key)
            finally:
                self._active -= 1
                self._metrics.active(self._active)
                self._queue.done(key)

    async def _work_on(self, key: K) -> None:
        began = time.monotonic()
        try:
            async with asyncio.timeout(self._longest_seconds):
                again_after = await self._reconcile(key)
        except (ApiError, ApiUnavailable, Failed) as error:
            self._try_again(key, str(error))
        except TimeoutError:
            self._try_again(key, f"not done within {self._longest_seconds:g} s")
        except Exception:  # noqa: BLE001 - one object's trouble must not be the others'
            self._try_again(key, "a bug in the operator", defect=True)
        else:
            self._queue.forget(key)
            if self._said.pop(key, None) is not None:
                self._log.info("reconcile works again", key=key)
            result: Result = "success"
            if again_after is not None:
                result = "requeue_after"
                self._queue.add_after(key, again_after)
            self._metrics.reconciled(result, time.monotonic() - began)
            return
        self._metrics.reconciled("error", time.monotonic() - began)

    def _try_again(self, key: K, error: str, *, defect: bool = False) -> None:
        pause = self._queue.add_failed(key)
        known = self._said.get(key) == error and not defect
        self._said[key] = error
        log = self._log.debug if known else self._log.error if defect else self._log.warning
        log("reconcile failed, trying again", key=key, error=error, pause_seconds=round(pause, 2), exc_info=defect)
