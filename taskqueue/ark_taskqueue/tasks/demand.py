"""Reads the record of a queue's demand (contract C8): what arrived, worked and waited, in spans of ten seconds.

Workers write it about once a second, when they look for tasks of dead workers (``reclaim.lua``), so it costs claims and
completions nothing, and has everybody's tasks, whoever added them. While no worker runs it is not written; the first
one notes what has gathered until then.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from ark_taskqueue.errors import RedisRefused, TaskQueueError
from ark_taskqueue.keys import QueueKeys
from ark_taskqueue.redis.client import Client
from ark_taskqueue.redis.script import READS, Call, Script
from ark_taskqueue.redis.translation import error_of, translated
from ark_taskqueue.tasks.demand_span import SPAN_SECONDS, DemandSpan

_MINUTE_SECONDS = 60
_NUMBERS = 3
"""Of a span."""
_LONGEST = 1 + _NUMBERS * _MINUTE_SECONDS // SPAN_SECONDS
"""Numbers of a minute."""
_LARGEST = 10**9
"""Of them: more than any queue has in ten seconds, and the minutes of two thousand years."""
_PAGE = 120
"""Minutes in one reply, so that Redis is never busy for more than a millisecond."""

_DEMAND = Script("tasks/demand", READS)
_RECENT = Script("tasks/recent_demand", READS)


async def read_demand(client: Client, queue: QueueKeys, since: float = 0.0) -> list[DemandSpan]:
    """Read the record of a queue's demand, the oldest span first; spans without tasks are left out.

    The span that is now is not over yet. Writes nothing.

    Args:
        client: see `ark_taskqueue.redis.client.connect`.
        queue: the queue.
        since: the minute that has this moment is the first one, seconds since 1970.

    Raises:
        RedisUnavailable: Redis did not answer.
        RedisRefused: Redis answered with an error, or the record has something else in it.
    """
    minutes: dict[int, Sequence[int]] = {}
    read = 0
    while True:
        page: list[Any] = await _DEMAND.run(client, (queue.demand,), -read - _PAGE, -read - 1)
        # A minute that begins between two pages moves all others: then some come twice.
        found = [_checked(entry, queue) for entry in page]
        minutes.update(found)
        read += len(page)
        if len(page) < _PAGE or found[0][0] * _MINUTE_SECONDS <= since:
            break
    spans = (span for number in sorted(minutes) for span in _spans(number, minutes[number]))
    return [span for span in spans if span.at // _MINUTE_SECONDS >= since // _MINUTE_SECONDS]


async def read_recent_demand(
    client: Client, windows: Sequence[tuple[QueueKeys, int]]
) -> list[list[DemandSpan] | TaskQueueError]:
    """Read the last whole spans of queues' records in one pipeline; an error takes the place of a queue's spans.

    A queue has as many spans as fit into its window, the oldest first, those without tasks too. Writes nothing.

    Args:
        client: see `ark_taskqueue.redis.client.connect`.
        windows: queues, and how far back their spans go, seconds.

    Raises:
        RedisUnavailable: no record could be read.
    """
    calls: list[Call] = [((queue.demand,), (seconds // _MINUTE_SECONDS + 2,)) for queue, seconds in windows]
    with translated("read the record of demand"):
        replies = await _RECENT.run_each(client, calls)
    return [
        error_of(reply, f"read the demand of {queue.name}") or _recent(reply, queue, seconds // SPAN_SECONDS)
        for (queue, seconds), reply in zip(windows, replies, strict=True)
    ]


def _recent(reply: Sequence[Any], queue: QueueKeys, count: int) -> list[DemandSpan] | TaskQueueError:
    now, *entries = reply
    try:
        minutes = [_checked(entry, queue) for entry in entries]
    except RedisRefused as error:
        return error
    known = {span.at: span for number, numbers in minutes for span in _spans(number, numbers)}
    ends = int(now) // SPAN_SECONDS * SPAN_SECONDS
    moments = range(ends - count * SPAN_SECONDS, ends, SPAN_SECONDS)
    return [known.get(at) or DemandSpan(at, 0, 0.0, 0.0) for at in moments]


def _checked(entry: Any, queue: QueueKeys) -> tuple[int, Sequence[int]]:
    """Return a minute's number and its spans' numbers.

    Raises:
        RedisRefused: it is none: whoever may write to Redis can put anything there.
    """
    is_minute = isinstance(entry, list) and 1 <= len(entry) <= _LONGEST and len(entry) % _NUMBERS == 1
    if not is_minute or not all(isinstance(number, int) and 0 <= number <= _LARGEST for number in entry):
        raise RedisRefused(
            f"the record of demand of {queue.name} has an entry that is no minute: delete {queue.demand}"
        )
    return entry[0], entry[1:]


def _spans(minute: int, numbers: Sequence[int]) -> Iterator[DemandSpan]:
    for position in range(0, len(numbers), _NUMBERS):
        arrivals, busy, waiting = numbers[position : position + _NUMBERS]
        if arrivals or busy or waiting:
            at = minute * _MINUTE_SECONDS + position // _NUMBERS * SPAN_SECONDS
            yield DemandSpan(at, arrivals, busy / 10, waiting / 10)
