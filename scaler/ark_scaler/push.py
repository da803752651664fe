"""When an open StreamIsActive says ``true``, and to whom.

While a pool runs, every ``true`` costs KEDA a write to the API server and extends the cooldown, so there is one on
each change to active. KEDA drops a ``true`` that comes before it has read the metric's name, and loses one while a
poll of it hangs; so it is repeated while work waits and no worker has taken any: the sign that the pool is still at
zero.
"""

from __future__ import annotations

import asyncio

from ark_scaler.decision.following import REPEAT_SECONDS
from ark_taskqueue import Depth, QueueKeys

_REPEAT_TOLERANCE_SECONDS = 0.5
"""A reading this much early counts as on time; the next one may be a whole period later."""


def should_push(active: bool, was_active: bool, in_flight: int, since_push: float) -> bool:
    """Decide whether a reading of the queue is followed by a ``true``.

    Args:
        active: the queue asks for a pool now.
        was_active: it did at the reading before.
        in_flight: tasks that workers hold now.
        since_push: seconds since the last ``true`` on this stream.
    """
    if not active:
        return False
    if not was_active:
        return True
    return in_flight == 0 and since_push >= REPEAT_SECONDS - _REPEAT_TOLERANCE_SECONDS


class Subscription:
    """One open stream: told of every reading of its queue, it wakes its handler when a ``true`` is due.

    Args:
        queue: the queue.
        activation_tasks: the pool is woken when there are more tasks than this.
    """

    __slots__ = ("_active", "_closed", "_due", "_pushed_at", "_waiter", "activation_tasks", "queue")

    def __init__(self, queue: QueueKeys, activation_tasks: int) -> None:
        self.queue = queue
        self.activation_tasks = activation_tasks
        self._active = False
        self._pushed_at = float("-inf")
        self._due = False
        self._closed = False
        self._waiter: asyncio.Future[bool] | None = None

    @property
    def active(self) -> bool:
        """Whether the queue asked for a pool at the last reading."""
        return self._active

    def observe(self, depth: Depth, now: float) -> None:
        """Take a reading of the queue.

        Args:
            depth: the reading.
            now: monotonic time, seconds.
        """
        self._follow(depth.demand > self.activation_tasks, depth.in_flight, now)

    def observe_task(self, now: float) -> None:
        """Take the news that a task came to the idle queue: enough to know, where any task wakes the pool.

        The reading that follows would say the same a round trip later.
        """
        if self.activation_tasks == 0 and not self._active:
            self._follow(active=True, in_flight=0, now=now)

    def _follow(self, active: bool, in_flight: int, now: float) -> None:
        if should_push(active, self._active, in_flight, now - self._pushed_at):
            self._pushed_at = now
            self._due = True
            self._wake()
        self._active = active

    def close(self) -> None:
        """End the stream: the handler's wait ends."""
        self._closed = True
        self._wake()

    def wait(self) -> asyncio.Future[bool]:
        """Wait until a ``true`` is due (returns True) or the stream is to end (returns False).

        A future and no coroutine: there are thousands of these, and each would hold a frame.
        """
        self._waiter = asyncio.get_running_loop().create_future()
        if self._due or self._closed:
            self._wake()
        return self._waiter

    async def pause(self, seconds: float) -> bool:
        """Wait for so long, or until the stream is to end; return False when it is."""
        try:
            async with asyncio.timeout(seconds):
                return await self.wait()
        except TimeoutError:
            return not self._closed

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._due = False
            self._waiter.set_result(not self._closed)
