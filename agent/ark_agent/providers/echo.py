"""A provider without a network: how long a task takes and what it costs stand in the task. For demos and tests."""

from __future__ import annotations

import asyncio
from typing import Any

from ark_taskqueue import Outcome, Task


class TaskFailed(Exception):
    """The task's payload asked for a failure, or could not be read."""


class EchoProvider:
    """Answers a task with its own prompt.

    The task's ``meta`` may say ``latency_seconds``, ``input_tokens``, ``output_tokens``, and ``failing_attempts``, the
    number of first attempts that fail.
    """

    async def answer(self, task: Task) -> Outcome:
        """Wait as long as the task says and repeat its prompt.

        Raises:
            TaskFailed: the task says so, or its ``meta`` cannot be read.
        """
        meta = _meta(task)
        await asyncio.sleep(_number(meta, "latency_seconds"))
        if task.attempt <= _number(meta, "failing_attempts"):
            raise TaskFailed(f"attempt {task.attempt} fails, as the task asked")
        return Outcome(task.prompt, int(_number(meta, "input_tokens")), int(_number(meta, "output_tokens")))


def _meta(task: Task) -> dict[str, Any]:
    try:
        meta = task.meta
    except ValueError as error:
        raise TaskFailed(f"meta is not JSON: {error}") from error
    if not isinstance(meta, dict):
        raise TaskFailed(f"meta is not a JSON object: {meta!r}")
    return meta


def _number(meta: dict[str, Any], name: str) -> float:
    value = meta.get(name, 0)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < float("inf"):
        raise TaskFailed(f"meta {name} is {value!r}: give a number from 0")
    return value
