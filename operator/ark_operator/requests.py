"""Which agents are to be reconciled: whatever watches something asks here, and is heard while this replica leads."""

from __future__ import annotations

from collections.abc import Iterable

from ark_kube.objects import Key
from ark_kube.workqueue import WorkQueue


class Requests:
    """The way into the work queue.

    Args:
        queue: where reconciles wait for their turn.
    """

    def __init__(self, queue: WorkQueue[Key]) -> None:
        self._queue = queue
        self.heard = False
        """Whether this replica leads: a standby decides nothing, and looks at everything once it leads."""

    def reconcile(self, key: Key, after: float = 0.0) -> None:
        """Have an agent reconciled, in so many seconds at the latest."""
        if self.heard:
            self._queue.add_after(key, after)

    def reconcile_all(self, keys: Iterable[Key]) -> None:
        """Have agents reconciled."""
        for key in keys:
            self.reconcile(key)
