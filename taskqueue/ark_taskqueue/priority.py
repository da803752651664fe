"""A task's priority, and how its id says it.

Each priority has a stream of its own, and entries of different streams may have equal ids. So a task's id is its
entry's, with the priority before it where that is not normal: ``high-1764064800000-0``.
"""

from __future__ import annotations

import re
from typing import Literal, TypeAlias

from ark_taskqueue.errors import InvalidTaskId

Priority: TypeAlias = Literal["high", "normal", "low"]
PRIORITIES: tuple[Priority, ...] = ("high", "normal", "low")
"""In the order in which tasks are taken."""
PREFIXES: dict[Priority, str] = {"high": "high-", "normal": "", "low": "low-"}
"""What a task's id begins with; the same as in ``tasks/identity.lua``."""


_NUMBER = r"(?:0|[1-9][0-9]{0,19})"
_ID = re.compile(rf"(?:high-|low-)?{_NUMBER}-{_NUMBER}")


def place_of(priority: Priority) -> int:
    """Return a priority's place among all, 1 for the first, as scripts have it.

    Raises:
        ValueError: it is none.
    """
    if priority not in PRIORITIES:
        raise ValueError(f"priority is {priority!r}, not one of {', '.join(PRIORITIES)}")
    return PRIORITIES.index(priority) + 1


def id_of(priority: Priority, entry_id: str) -> str:
    """Return the id of the task whose entry lies in the stream of a priority."""
    return PREFIXES[priority] + entry_id


def priority_of(task_id: str) -> Priority:
    """Return the priority of the task with an id; that of what is no task's id is normal."""
    for priority, prefix in PREFIXES.items():
        if prefix and task_id.startswith(prefix):
            return priority
    return "normal"


def check_id(task_id: str) -> None:
    """Check that an id can be a task's.

    Raises:
        InvalidTaskId: it cannot, or is written in another way than Redis writes it.
    """
    if not _ID.fullmatch(task_id):
        raise InvalidTaskId(task_id)


def entry_of(task_id: str) -> str:
    """Return the id of a task's entry in its stream."""
    return task_id.removeprefix(PREFIXES[priority_of(task_id)])
