"""When a queue with open streams is read next, so that the streams do not depend on KEDA's polls."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ark_taskqueue.tasks.depth import Depth

REPEAT_SECONDS = 5.0
"""When a ``true`` that KEDA missed is due again, seconds."""
_PAUSES = (0.25, 0.75, 1.5, 2.5, REPEAT_SECONDS)
"""Times between readings since a queue woke. All but the last add up to `REPEAT_SECONDS`; the last goes on."""
_VERIFY_SECONDS = 30.0
"""Time between readings of a watched queue that keeps old entries: a stream made anew with lower ids (by hand, or by
a server whose clock is behind) is not seen by the watch."""
_SPREAD = 0.05
"""How much earlier than its time a reading may be, as a share; a repetition allows for it (see `ark_scaler.push`)."""
RETRY_SECONDS = _PAUSES[-1]
"""When a queue is read again whose reading failed, unless Redis comes back before."""


@dataclass(frozen=True, slots=True)
class Followed:
    """How far the following of one queue has come."""

    readings: int = 0
    """Planned since it woke."""
    due_at: float | None = None
    """When the next one is due, monotonic seconds; None where none is planned."""


def next_reading(
    before: Followed, depth: Depth, active: Sequence[bool], *, watched: bool, now: float, chance: float
) -> Followed:
    """Return when a queue is read next, after a reading of it.

    Args:
        before: what was planned.
        depth: the reading.
        active: for each open stream, whether its pool is awake by this reading; empty where no stream is open.
        watched: whether the watch would tell of a new task.
        now: monotonic time, seconds.
        chance: a random number in [0, 1). Queues that woke together are not read together for ever: each reading keeps
            other calls waiting a little.
    """
    if not active or is_idle(depth):
        return Followed()
    if before.due_at is not None and before.due_at > now:
        return before
    pause = _PAUSES[min(before.readings, len(_PAUSES) - 1)]
    if watched and not any(active):
        pause = _VERIFY_SECONDS
    elif depth.in_flight and before.readings >= len(_PAUSES):
        pause *= 1 + chance  # a pool that runs: nothing to repeat, and no hurry
    return Followed(before.readings + 1, now + pause * (1 - chance * _SPREAD))


def is_idle(depth: Depth) -> bool:
    """Return whether only an XADD can raise the demand: the stream is empty, and nothing is in flight."""
    return depth.length == 0 and depth.demand == 0
