"""Where a task is, in one call."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from ark_taskqueue.tasks.task import Result, fields_from, result_from, text


@dataclass(frozen=True, slots=True)
class TaskState:
    """Where a task is at one moment."""

    task_id: str
    status: Literal["waiting", "backoff", "running", "completed", "dead", "cancelled", "gone"]
    """"backoff": it has failed, and is tried again later. "gone": there is no such task, or its result has expired."""
    ahead: int | None = None
    """Of a waiting task: about how many are taken before it, if nothing else comes.

    None where that is not known, as for a task that the provider refuses, or where there are hundreds of its priority.
    """
    due_seconds: float | None = None
    """Of a task in backoff: seconds until it may be taken again."""
    worker: str | None = None
    """Of a running task: who has it."""
    renewed_seconds: float | None = None
    """Of a running task: seconds since its worker last renewed the lease."""
    deliveries: int = 0
    """How often it has been taken, as far as that counts as an attempt; of one that is not finished."""
    result: Result | None = None
    """Of a finished task."""


def state_from(task_id: str, reply: Sequence[Any]) -> TaskState:
    """Decode what ``state.lua`` answers."""
    kind, *rest = reply
    if kind == b"finished":
        result = result_from(task_id, fields_from(rest[0]))
        return TaskState(task_id, result.status, result=result)
    if kind == b"waiting":
        ahead, deliveries = rest
        return TaskState(task_id, "waiting", ahead=ahead if ahead >= 0 else None, deliveries=deliveries)
    if kind == b"backoff":
        due_ms, deliveries = rest
        return TaskState(task_id, "backoff", due_seconds=due_ms / 1000, deliveries=deliveries)
    if kind == b"running":
        idle_ms, deliveries, worker = rest
        return TaskState(task_id, "running", worker=text(worker), renewed_seconds=idle_ms / 1000, deliveries=deliveries)
    return TaskState(task_id, "gone")
