"""Says once when something stops answering, and once when it answers again, however often it is asked meanwhile."""

from __future__ import annotations

from collections.abc import Collection

import structlog


class Outages:
    """Those of one kind that do not answer: Redis connections, or agents' keys in one that does."""

    def __init__(self, component: str, kind: str, begins: str, ends: str) -> None:
        """
        Args:
            component: who asks, for the log.
            kind: what is asked, ``redis`` or ``agent``: the log's field for its name.
            begins: what the log says first, and what comes of it.
            ends: what the log says at the end.
        """
        self._kind = kind
        self._begins = begins
        self._ends = ends
        self._failing: set[str] = set()
        self._log = structlog.get_logger(component=component)

    def fails(self, name: str, error: str) -> None:
        """Note that one has not answered, and what came instead."""
        if name not in self._failing:
            self._failing.add(name)
            self._log.warning(self._begins, **{self._kind: name}, error=error)

    def answers(self, name: str) -> None:
        """Note that one has answered."""
        if name in self._failing:
            self._failing.remove(name)
            self._log.info(self._ends, **{self._kind: name})

    def keep(self, names: Collection[str]) -> None:
        """Forget all others: they are gone, and will never answer."""
        self._failing.intersection_update(names)
