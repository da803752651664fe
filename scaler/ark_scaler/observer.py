"""What is known of the queues of one Redis, and how: watched, read just now, or held over a failure.

========================  ==========================================================================================
the queue is              a call is answered with
========================  ==========================================================================================
idle, empty and watched   0 tasks, without a read: its demand can only rise by an XADD, which the watch would have seen
anything else             its depth, read for this call (shared with others, see `ark_scaler.readers.batch`)
not readable just now     the last good depth for ``hold_seconds``, then an error; never zero, and never later than
                          the reader's timeout
========================  ==========================================================================================

Every reading, whatever it was made for, goes to the queue's open streams. Queues with an open stream are also read
when a stream opens, when the watch sees a new task, when Redis is back, and from time to time while they are active
or hold old entries; so the streams do not depend on polls, which may go to another replica of the scaler.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence

import structlog

from ark_process.outages import Outages
from ark_scaler.budgets import Budgets
from ark_scaler.contact import Contact
from ark_scaler.dead_letter_gauge import DeadLetterGauge
from ark_scaler.decision.following import is_idle, next_reading
from ark_scaler.errors import NothingKnown
from ark_scaler.follower import Follower
from ark_scaler.known_queue import KnownQueue
from ark_scaler.metrics import ScalerMetrics
from ark_scaler.push import Subscription
from ark_scaler.readers.batch import PAGE
from ark_scaler.readers.held import HeldReader
from ark_scaler.readers.redis import demand_reader, depth_reader, usage_reader
from ark_scaler.watch import watch_of
from ark_taskqueue import Client, Depth, QueueKeys, RedisUnavailable, TaskQueueError
from ark_taskqueue.tasks.demand_span import SPAN_SECONDS

_FORGET_SECONDS = 600.0
"""A queue that nobody asked about for so long is forgotten."""
_SWEEP_SECONDS = 60.0
_FRESH_SECONDS = 10.0
"""A scrape reads again what is older than this."""
_REFRESH_SECONDS = 2.0
"""The most that a scrape waits for these readings."""


class QueueObserver:
    """Observes the queues of one Redis connection.

    Args:
        name: the connection's name.
        commands: client for reads.
        watching: client for the blocking watch alone.
        metrics: the process's metrics.
        timeout: the most that a reading may take, seconds.
        hold_seconds: how long the last good reading is answered while Redis fails.
        clock: monotonic time, seconds.
    """

    def __init__(
        self,
        name: str,
        commands: Client,
        watching: Client,
        metrics: ScalerMetrics,
        *,
        timeout: float,
        hold_seconds: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.name = name
        self.timeout = timeout
        self._hold_seconds = hold_seconds
        self._clock = clock
        self._queues: dict[QueueKeys, KnownQueue] = {}
        self._log = structlog.get_logger(component="observer").bind(redis=name)
        self._contact = Contact(name, metrics, self._log, clock)
        self._follower = Follower(self._read_all, lambda: self._contact.is_there, clock)
        self._reader = depth_reader(name, commands, timeout, metrics)
        self.budgets = Budgets(name, usage_reader(name, commands, timeout, metrics), hold_seconds, clock)
        demand = demand_reader(name, commands, timeout, metrics)
        self.recent_demand = HeldReader(name, demand, SPAN_SECONDS, hold_seconds, clock)
        self._dead_letters = DeadLetterGauge(name, commands, metrics)
        self._watch = watch_of(watching, commands, self)
        self._held = metrics.held_values.labels(redis=name)
        metrics.watched_queues.labels(redis=name).set_function(lambda: len(self._watch))
        self._unreadable = Outages(self._log, "queue", "cannot read a queue", "queue can be read again")

    @property
    def not_ready(self) -> str | None:
        """Why nothing can be answered yet; None once Redis has answered for the first time."""
        return self._contact.not_ready

    def known_depths(self) -> Iterator[tuple[str, QueueKeys, Depth]]:
        """Return connection name, queue and last depth of every queue that was read and is not too old to hold."""
        now = self._clock()
        for known in self._queues.values():
            if known.depth is not None and self._age(known, now) <= max(self._hold_seconds, _FRESH_SECONDS):
                yield self.name, known.queue, known.depth

    async def depth(self, queue: QueueKeys) -> Depth:
        """Return a queue's depth for a call.

        Raises:
            NothingKnown: Redis fails and no reading is recent enough.
            RedisRefused: the queue cannot be read as it is.
        """
        known = self._known(queue)
        known.asked_at = self._clock()
        if self._is_idle_and_watched(known) and known.depth is not None:
            return known.depth
        try:
            return await self._read(known)
        except RedisUnavailable as error:
            return self._hold(known, error)

    def subscribe(self, queue: QueueKeys, activation_tasks: int) -> Subscription:
        """Tell a new stream of every reading of a queue, until `unsubscribe`."""
        known = self._known(queue)
        subscription = Subscription(queue, activation_tasks)
        known.subscriptions += (subscription,)
        self._follower.read_soon(known)
        return subscription

    def unsubscribe(self, subscription: Subscription) -> None:
        """End what `subscribe` began."""
        known = self._known(subscription.queue)
        known.subscriptions = tuple(other for other in known.subscriptions if other is not subscription)
        if not known.subscriptions:
            self._follower.forget(known)
            known.asked_at = self._clock()

    def close_subscriptions(self) -> None:
        """End every open stream."""
        for known in self._queues.values():
            for subscription in known.subscriptions:
                subscription.close()

    async def refresh(self) -> None:
        """Read what a scrape of the metrics shows, as far as Redis answers.

        That is every queue whose reading is old, and the number of dead letters, which no call asks for.
        """
        now = self._clock()
        old = [known for known in self._queues.values() if self._age(known, now) > _FRESH_SECONDS]
        try:
            async with asyncio.timeout(_REFRESH_SECONDS):
                await self._read_all(old)
                await self.budgets.refresh()
                await self._dead_letters.refresh([known.queue for known in self._queues.values()])
        except TimeoutError:
            return  # the rest is shown as old as it is, or not at all

    async def run(self) -> None:
        """Observe until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._reader.run())
            tasks.create_task(self.budgets.run())
            tasks.create_task(self.recent_demand.run())
            tasks.create_task(self._watch.run())
            tasks.create_task(self._follower.run())
            tasks.create_task(self._sweep())

    # What the watch tells (see `ark_scaler.watch.protocol.Watcher`).

    def woken(self, queues: Sequence[QueueKeys]) -> None:
        """New entries came: wake the pools that any task wakes, and read these queues."""
        now = self._clock()
        groups = Counter(queue.stream for queue in queues)
        for queue in queues:
            known = self._queues.get(queue)
            if known is None:
                continue
            if groups[queue.stream] == 1:  # else the task may be old to this group: the reading tells
                for subscription in known.subscriptions:
                    subscription.observe_task(now)
            known.outdate(now)
            self._follower.read_soon(known)

    def unsure(self, queues: Sequence[QueueKeys]) -> None:
        """These queues are not watched any more: read them."""
        for queue in queues:
            known = self._queues.get(queue)
            if known is not None:
                self._follower.read_soon(known)

    def contact(self) -> None:
        """Redis answered; after a loss every queue with an open stream is read."""
        if self._contact.answered():
            for known in self._queues.values():
                if known.subscriptions:
                    self._follower.read_soon(known)

    def lost(self, error: TaskQueueError) -> None:
        """The watch broke: what it vouched for was true until its last answer."""
        for known in self._queues.values():
            if self._watch.has(known.queue):
                known.confirmed_at = max(known.confirmed_at, self._contact.at)
        self._contact.lost(error)

    # Reading.

    def _known(self, queue: QueueKeys) -> KnownQueue:
        known = self._queues.get(queue)
        if known is None:
            known = self._queues[queue] = KnownQueue(queue)
        return known

    def _is_idle_and_watched(self, known: KnownQueue) -> bool:
        return known.depth is not None and is_idle(known.depth) and self._watch.covers(known.queue)

    def _age(self, known: KnownQueue, now: float) -> float:
        return 0.0 if self._is_idle_and_watched(known) else now - known.confirmed_at

    async def _read(self, known: KnownQueue) -> Depth:
        asked_at = self._clock()
        depth = await self._reader.read(known.queue, known.watch_up_to)
        self._observe(known, depth, asked_at)
        return depth

    async def _read_all(self, queues: Sequence[KnownQueue]) -> None:
        """Read queues for their streams or the metrics, a page at a time; a failure leaves what is known as it is."""
        for start in range(0, len(queues), PAGE):
            page = queues[start : start + PAGE]
            asked_at = self._clock()
            depths = await self._reader.read_page([(known.queue, known.watch_up_to) for known in page])
            for known, depth in zip(page, depths, strict=True):
                if isinstance(depth, Depth):
                    self._observe(known, depth, asked_at)
                else:
                    self._read_later(known, depth)

    def _read_later(self, known: KnownQueue, error: TaskQueueError) -> None:
        """A reading failed. When Redis is back, the watch notices, and every queue with a stream is read at once."""
        if not isinstance(error, RedisUnavailable):
            self._unreadable.fails(known.queue.name, str(error))
        self._follower.read_later(known)

    def _hold(self, known: KnownQueue, error: RedisUnavailable) -> Depth:
        vouched_at = self._contact.at if self._watch.has(known.queue) else known.confirmed_at
        age = self._clock() - max(known.confirmed_at, vouched_at)
        if known.depth is not None and age <= self._hold_seconds:
            self._held.inc()
            return known.depth
        last = f"the last good value is {age:.0f} s old" if known.depth is not None else "there is no good value"
        raise NothingKnown(
            f"Redis {self.name!r} is failing and the depth of queue {known.queue.name!r} is unknown ({last}, "
            f"values are held for {self._hold_seconds:g} s): {error}"
        ) from error

    def _observe(self, known: KnownQueue, depth: Depth, asked_at: float) -> None:
        """Take a reading: remember it, tell the open streams, watch or follow the queue.

        One that was asked for before a task came, or before a reading that is known already, is passed over: pages
        and calls overlap, and it may be older.
        """
        if asked_at < known.outdated_at:
            if known.subscriptions and known.followed.due_at is None:
                self._follower.read_soon(known)
            return
        self._unreadable.answers(known.queue.name)
        now = self._clock()
        known.take(depth, asked_at, now)
        active = [subscription.active for subscription in known.subscriptions]
        if depth.watch_after is not None and not (active and all(active)):
            self._watch.add(known.queue, depth.watch_after)
        else:
            self._watch.discard(known.queue)
        watched, chance = self._watch.has(known.queue), random.random()  # noqa: S311 - no secret
        plan = next_reading(known.followed, depth, active, watched=watched, now=now, chance=chance)
        self._follower.plan(known, plan)

    async def _sweep(self) -> None:
        """Forget queues that nobody asks about any more."""
        while True:
            await asyncio.sleep(_SWEEP_SECONDS)
            oldest = self._clock() - _FORGET_SECONDS
            for queue, known in list(self._queues.items()):
                if not known.subscriptions and known.asked_at < oldest:
                    self._watch.forget(queue)
                    del self._queues[queue]
            self._unreadable.keep({queue.name for queue in self._queues})


def first_not_ready(observers: Iterable[QueueObserver]) -> str | None:
    """Return why the scaler is not ready: no Redis has answered yet; None as soon as one has."""
    reasons = [observer.not_ready for observer in observers]
    return None if None in reasons else reasons[0]
