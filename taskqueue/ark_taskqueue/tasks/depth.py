"""How deep a queue is: what waits, what is in flight, and how many slots of workers that asks for."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Depth:
    """One queue's depth at one moment."""

    waiting: int
    """Tasks that no worker holds: never delivered, given back, or in backoff."""
    in_flight: int
    """Tasks that a worker holds; in a group of more than 1,000 consumers, returned ones beyond 500 of a kind too."""
    length: int
    """Entries in the streams, XLEN."""
    exact: bool
    """False where counting was cut off; then `waiting` is an upper bound."""
    oldest_waiting_ms: int
    """Age of the oldest waiting task, milliseconds; 0 when none waits."""
    mean_service_ms: float | None
    """Mean service time of the last tasks, milliseconds; None before the first one was completed."""
    watch_after: tuple[str, ...] | None
    """For the stream of each priority the id from which XREAD sees every entry that this depth does not count.

    None where it was not asked for.
    """

    orphaned: int = 0
    """Pending entries, at least, whose tasks were trimmed or deleted: nobody can do them, and they count for ever."""

    @property
    def demand(self) -> int:
        """Waiting and in flight."""
        return self.waiting + self.in_flight

    def slots(self, target_wait_seconds: float | None) -> float:
        """Return how many slots of workers the tasks ask for.

        Without a wait target every task asks for a slot. With one, a slot that becomes free after the mean service
        time s serves T/s waiting tasks within the target T, so a waiting task asks for s/T of a slot, and never for
        more than one: ``in flight + waiting x min(1, s/T)``. While no task was ever completed s is unknown, and it is
        one slot each.
        """
        return self.in_flight + self.waiting * self.waiting_share(target_wait_seconds)

    def waiting_share(self, target_wait_seconds: float | None) -> float:
        """Return what part of a slot a waiting task asks for, see `slots`."""
        if target_wait_seconds is None or self.mean_service_ms is None:
            return 1.0
        return min(1.0, self.mean_service_ms / 1000 / target_wait_seconds)
