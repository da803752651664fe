"""What nobody can do better than: a pool that knows the future."""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence

from ark_sizing.simulation import Task


def clairvoyant_seconds(tasks: Sequence[Task], slots: int, start_seconds: float) -> float:
    """Return the replica-seconds with which no task would wait, if all of them were known in advance.

    Each task works from the moment at which it is added. The n-th replica is there while more than ``(n - 1) * slots``
    tasks work, as if tasks could move to another replica at any time, which makes it a lower bound; it is started in
    time; and it stays in a gap that is shorter than its start would be.

    Args:
        tasks: in the order in which they are added.
        slots: tasks that one replica works on at a time.
        start_seconds: how long a replica starts.
    """
    total, left_at = 0.0, list[float]()
    """The second: when the replicas of a level were last needed."""
    since: list[float] = []
    for at, replicas in _replicas(tasks, slots):
        while len(since) < replicas:
            level = len(since)
            if level == len(left_at):
                left_at.append(float("-inf"))
            total += min(at - left_at[level], start_seconds)
            since.append(at)
        while len(since) > replicas:
            total += at - since.pop()
            left_at[len(since)] = at
    return total


def _replicas(tasks: Sequence[Task], slots: int) -> Iterator[tuple[float, int]]:
    """Yield how many replicas the tasks need, at each moment at which one begins or ends."""
    ends: list[float] = []
    for task in tasks:
        while ends and ends[0] <= task.at:
            at = heapq.heappop(ends)
            yield at, -(-len(ends) // slots)
        heapq.heappush(ends, task.at + task.seconds)
        yield task.at, -(-len(ends) // slots)
    while ends:
        at = heapq.heappop(ends)
        yield at, -(-len(ends) // slots)
