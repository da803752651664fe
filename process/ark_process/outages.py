"""Says once when something stops answering, and once when it answers again, however often it is asked meanwhile."""

from __future__ import annotations

from collections.abc import Collection

from structlog.typing import FilteringBoundLogger


class Outages:
    """Those of one kind that do not answer: Redis connections, or the keys of queues in one that does.

    Args:
        log: of whoever asks.
        kind: what is asked, ``redis``, ``queue`` or ``agent``: the log's field for its name.
        begins: what the log says first, and what comes of it.
        ends: what the log says at the end.
    """

    def __init__(self, log: FilteringBoundLogger, kind: str, begins: str, ends: str) -> None:
        self._kind = kind
        self._begins = begins
        self._ends = ends
        self._failing: set[str] = set()
        self._log = log

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
