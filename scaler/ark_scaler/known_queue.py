"""What is known of one queue."""

from __future__ import annotations

from ark_scaler.decision.following import Followed
from ark_scaler.push import Subscription
from ark_taskqueue import Depth, QueueKeys


class KnownQueue:
    """What is known of one queue, and who wants to know it.

    Args:
        queue: the queue.
    """

    __slots__ = ("asked_at", "confirmed_at", "depth", "followed", "outdated_at", "queue", "subscriptions")

    def __init__(self, queue: QueueKeys) -> None:
        self.queue = queue
        self.depth: Depth | None = None
        """The last good reading."""
        self.confirmed_at = 0.0
        """When it was true for the last time, monotonic seconds."""
        self.outdated_at = float("-inf")
        """Readings that were asked for before this moment know less than we do."""
        self.asked_at = 0.0
        """When somebody asked about it last."""
        self.subscriptions: tuple[Subscription, ...] = ()
        """Its open streams."""
        self.followed = Followed()

    @property
    def watch_up_to(self) -> int:
        """Demand up to which some stream's pool is still to be woken."""
        return max((subscription.activation_tasks for subscription in self.subscriptions), default=0)

    def take(self, depth: Depth, asked_at: float, now: float) -> None:
        """Take a reading, and tell the open streams."""
        self.depth, self.confirmed_at, self.outdated_at = depth, asked_at, asked_at
        for subscription in self.subscriptions:
            subscription.observe(depth, now)

    def outdate(self, now: float) -> None:
        """Forget the reading: it is known to be wrong, and no failure and no earlier reading may bring it back."""
        self.depth, self.outdated_at, self.followed = None, now, Followed()
