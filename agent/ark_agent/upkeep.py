"""What must go on while a handler blocks the event loop: leases, ``/healthz``, and somebody who notices.

It runs in a thread with an event loop and a connection to Redis of its own. So a handler that computes, or calls a
library that waits, for longer than the lease loses neither its task nor its neighbours', and Kubernetes does not
restart the Pod for it. What blocks is named in the log; where it goes on for longer than any attempt may take, the
process ends, since nothing else can end it.
"""

from __future__ import annotations

import asyncio
import os
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import Future
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, nullcontext
from pathlib import Path
from typing import Protocol

import structlog

from ark_agent.metrics import AgentMetrics
from ark_process.exceptions import leaves
from ark_taskqueue import Client, Consumer, Task, TaskQueueError

_RECLAIM_SECONDS = 0.8
"""Also how soon a worker hears that a task was cancelled: within a second."""
_BEAT_SECONDS = 0.25
_LOOK_SECONDS = 0.5
_BLOCKED_SECONDS = 2.0
"""A blocked event loop is named in the log after this."""
_FRAMES = 6
"""Callers that the log names."""
_END_SECONDS = 3.0


class Work(Protocol):
    """The tasks of a worker, as another thread may ask for them."""

    def held(self) -> Sequence[Task]:
        """Return the tasks whose leases are to be renewed."""

    def lost(self, task: Task) -> None:
        """Drop a task that is no longer this worker's; called in the worker's thread."""


class Upkeep:
    """The upkeep of one worker.

    Args:
        work: whose leases are renewed.
        consumer: makes a client and a consumer of the worker's name, in the thread that uses them.
        metrics: counts dead letters that had to go.
        endpoint: serves HTTP while it is open, and gives the port; none where None.
        longest_block_seconds: so long the event loop may be blocked before the process ends.
        end: ends the process.
    """

    def __init__(
        self,
        work: Work,
        consumer: Callable[[], tuple[Client, Consumer]],
        metrics: AgentMetrics,
        *,
        endpoint: Callable[[], AbstractAsyncContextManager[int]] | None = None,
        longest_block_seconds: float,
        end: Callable[[int], object] = os._exit,
    ) -> None:
        self._work = work
        self._consumer = consumer
        self._metrics = metrics
        self._endpoint = endpoint or (lambda: nullcontext(0))
        self._longest_block_seconds = longest_block_seconds
        self._end = end
        self._beat = 0
        self._log = structlog.get_logger(component="upkeep")

    @asynccontextmanager
    async def running(self) -> AsyncIterator[int]:
        """Run while the context is open; gives the port of the endpoint.

        Raises:
            Whatever the endpoint raises where it cannot be served.
        """
        started: Future[tuple[asyncio.AbstractEventLoop, asyncio.Event, int]] = Future()
        ended: Future[None] = Future()
        loop = asyncio.get_running_loop()
        thread = threading.Thread(
            target=self._thread, args=(loop, threading.get_ident(), started, ended), name="upkeep", daemon=True
        )
        thread.start()
        side, stop, port = await asyncio.wrap_future(started)
        try:
            async with asyncio.TaskGroup() as group:
                beating = group.create_task(self._beats())
                try:
                    yield port
                finally:
                    beating.cancel()
        finally:
            side.call_soon_threadsafe(stop.set)
            await asyncio.wait([asyncio.wrap_future(ended)], timeout=_END_SECONDS)

    async def _beats(self) -> None:
        """Show that the event loop runs."""
        while True:
            self._beat += 1
            await asyncio.sleep(_BEAT_SECONDS)

    def _thread(
        self,
        loop: asyncio.AbstractEventLoop,
        thread: int,
        started: Future[tuple[asyncio.AbstractEventLoop, asyncio.Event, int]],
        ended: Future[None],
    ) -> None:
        try:
            asyncio.run(self._side(loop, thread, started))
        except Exception as error:  # noqa: BLE001 - the worker is told, and ends with it
            if not started.done():
                started.set_exception(error)
            else:
                kinds = ", ".join(type(cause).__name__ for cause in leaves(error))
                self._log.error("upkeep has failed, the process ends", error=kinds)
                self._end(1)
        finally:
            ended.set_result(None)

    async def _side(
        self,
        loop: asyncio.AbstractEventLoop,
        thread: int,
        started: Future[tuple[asyncio.AbstractEventLoop, asyncio.Event, int]],
    ) -> None:
        stop = asyncio.Event()
        async with AsyncExitStack() as stack:
            client, consumer = self._consumer()
            stack.push_async_callback(client.aclose)
            port = await stack.enter_async_context(self._endpoint())
            started.set_result((asyncio.get_running_loop(), stop, port))
            async with asyncio.TaskGroup() as group:
                tasks = [
                    group.create_task(self._renewals(loop, consumer)),
                    group.create_task(self._reclaims(loop, consumer)),
                    group.create_task(self._watch(loop, thread)),
                ]
                await stop.wait()
                for task in tasks:
                    task.cancel()

    async def _renewals(self, loop: asyncio.AbstractEventLoop, consumer: Consumer) -> None:
        while True:
            await asyncio.sleep(consumer.leases.renew_every)
            try:
                await self._renew(loop, consumer)
            except TaskQueueError as error:
                self._log.warning("leases cannot be renewed, trying again", error=str(error))

    async def _reclaims(self, loop: asyncio.AbstractEventLoop, consumer: Consumer) -> None:
        while True:
            await asyncio.sleep(_RECLAIM_SECONDS)
            try:
                # First renewed: after an outage longer than the lease, what runs here must not look abandoned.
                await self._renew(loop, consumer)
                reclaimed = await consumer.reclaim()
            except TaskQueueError as error:
                self._log.warning("tasks of dead workers cannot be reclaimed, trying again", error=str(error))
                continue
            if reclaimed is None:
                continue
            self._metrics.letters_dropped.inc(reclaimed.dropped)
            if reclaimed.expired or reclaimed.buried:
                self._log.warning(
                    "tasks of dead workers reclaimed", tasks=reclaimed.expired, dead_letters=reclaimed.buried
                )

    async def _renew(self, loop: asyncio.AbstractEventLoop, consumer: Consumer) -> None:
        for lost in await consumer.renew(self._work.held()):
            loop.call_soon_threadsafe(self._work.lost, lost)

    async def _watch(self, loop: asyncio.AbstractEventLoop, thread: int) -> None:
        """Name what blocks the event loop; end the process where it goes on for too long."""
        seen, blocked, named = self._beat, 0.0, False
        while True:
            before = time.monotonic()
            await asyncio.sleep(_LOOK_SECONDS)
            if self._beat != seen:
                if named:
                    self._log.warning("event loop runs again", blocked_seconds=round(blocked, 1))
                seen, blocked, named = self._beat, 0.0, False
                continue
            # A process that was stopped, with all of its threads, has blocked nothing.
            blocked += min(time.monotonic() - before, 2 * _LOOK_SECONDS)
            if blocked >= _BLOCKED_SECONDS and not named:
                named = True
                self._log.warning("a handler blocks the event loop, other tasks stall", **_culprit(loop, thread))
            if blocked >= self._longest_block_seconds:
                self._log.error(
                    "a handler blocks the event loop for longer than an attempt may take, exiting",
                    blocked_seconds=round(blocked, 1),
                    **_culprit(loop, thread),
                )
                self._end(1)


def _culprit(loop: asyncio.AbstractEventLoop, thread: int) -> dict[str, object]:
    """Return the name of the task that runs, and where it is: functions and lines, and nothing of what they hold."""
    task = asyncio.current_task(loop)
    frame = sys._current_frames().get(thread)
    places: list[str] = []
    while frame is not None and len(places) < _FRAMES:
        code = frame.f_code
        places.append(f"{code.co_name} ({Path(code.co_filename).name}:{frame.f_lineno})")
        frame = frame.f_back
    return {"task": task.get_name() if task is not None else "", "at": places}
