"""Reads the record of a queue's demand (contract C8): what arrived, worked and waited, in spans of ten seconds.

Workers write it about once a second, when they look for tasks of dead workers (``reclaim.lua``), so it costs claims and
completions nothing, and has everybody's tasks, whoever added them. While no worker runs it is not written; the first
one notes what has gathered until then.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from ark_taskqueue.keys import QueueKeys
from ark_taskqueue.redis.client import Client
from ark_taskqueue.redis.script import READS, Script

SPAN_SECONDS = 10
_MINUTE_SECONDS = 60
_NUMBERS = 3
"""Of a span."""
_PAGE = 120
"""Minutes in one reply, so that Redis is never busy for more than a millisecond."""

_DEMAND = Script("tasks/demand", READS)


@dataclass(frozen=True, slots=True)
class DemandSpan:
    """Ten seconds of a queue."""

    at: int
    """When they began, seconds since 1970 by Redis' clock; a multiple of ten."""
    arrivals: int
    """Tasks that were added in them, by anybody."""
    busy_seconds: float
    """Slots of workers that had a task, times the time that they had one."""
    waiting_seconds: float
    """Tasks that no worker held, times the time that they waited."""


async def read_demand(client: Client, queue: QueueKeys, since: float = 0.0) -> list[DemandSpan]:
    """Read the record of a queue's demand, the oldest span first; spans without tasks are left out.

    The span that is now is not over yet. Writes nothing.

    Args:
        client: see `ark_taskqueue.redis.client.connect`.
        queue: the queue.
        since: the minute that has this moment is the first one, seconds since 1970.

    Raises:
        RedisUnavailable: Redis did not answer.
        RedisRefused: Redis answered with an error.
    """
    minutes: dict[int, Sequence[int]] = {}
    read = 0
    while True:
        page: list[Any] = await _DEMAND.run(client, (queue.demand,), -read - _PAGE, -read - 1)
        # A minute that begins between two pages moves all others: then some come twice.
        minutes.update((int(number), numbers) for number, *numbers in page)
        read += len(page)
        if len(page) < _PAGE or page[0][0] * _MINUTE_SECONDS <= since:
            break
    found = (span for number in sorted(minutes) for span in _spans(number, minutes[number]))
    return [span for span in found if span.at // _MINUTE_SECONDS >= since // _MINUTE_SECONDS]


def _spans(minute: int, numbers: Sequence[int]) -> Iterator[DemandSpan]:
    for position in range(0, len(numbers), _NUMBERS):
        arrivals, busy, waiting = (int(number) for number in numbers[position : position + _NUMBERS])
        if arrivals or busy or waiting:
            at = minute * _MINUTE_SECONDS + position // _NUMBERS * SPAN_SECONDS
            yield DemandSpan(at, arrivals, busy / 10, waiting / 10)
