"""What the queue answers a worker."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from ark_taskqueue.tasks.task import text

Counting: TypeAlias = Literal["never", "noted", "proved", "always"]
"""Whether a refusal is a failure; see `Consumer.refuse`."""


@dataclass(frozen=True, slots=True)
class Reclaimed:
    """What one pass over the pending entries did."""

    rested: int
    """Tasks made claimable after their backoff."""
    expired: int
    """Tasks made claimable because their worker's lease ran out."""
    buried: int
    """Tasks moved to the dead letters because their workers died as often as a task may fail."""
    dropped: int
    """Dead letters that were too old, or too many."""


@dataclass(frozen=True, slots=True)
class Ended:
    """What became of a task that was not completed."""

    outcome: Literal["retry", "dead", "refused", "lost"]
    """"lost": it is no longer this delivery's, and nothing was written."""
    dropped: int = 0
    """Dead letters that had to go for this one."""


def ended_from(reply: Sequence[Any]) -> Ended:
    """Return what ``fail.lua`` and ``refuse.lua`` answer."""
    outcome = text(reply[0])
    known: dict[str, Literal["retry", "dead", "refused"]] = {"retry": "retry", "dead": "dead", "refused": "refused"}
    return Ended(known.get(outcome, "lost"), int(reply[1]))
