"""A provider without a network: how long a call takes and what it costs stand in the task. For demos and tests."""

from __future__ import annotations

import asyncio
from typing import Any

from ark_agent.providers import ProviderOptions, Reply, Request
from ark_agent.providers.errors import CallFailed, InputRefused
from ark_taskqueue import Task


def make(_: ProviderOptions) -> EchoProvider:
    """Make the provider."""
    return EchoProvider()


class EchoProvider:
    """Answers with the last message.

    The task's ``meta`` may say ``latency_seconds``, ``input_tokens``, ``output_tokens``, and ``failing_attempts``, the
    number of first attempts that fail.
    """

    async def count(self, request: Request) -> int:
        """Return the tokens that the task says.

        Raises:
            InputRefused: its ``meta`` cannot be read.
        """
        return int(_number(_meta(request.task), "input_tokens"))

    async def call(self, request: Request, output_tokens: int) -> Reply:
        """Wait as long as the task says and repeat the last message.

        Raises:
            CallFailed: the task says so.
            InputRefused: its ``meta`` cannot be read.
        """
        meta = _meta(request.task)
        await asyncio.sleep(_number(meta, "latency_seconds"))
        if request.task.attempt <= _number(meta, "failing_attempts"):
            raise CallFailed(f"attempt {request.task.attempt} fails, as the task asked")
        wanted = int(_number(meta, "output_tokens"))
        text = request.messages[-1].content if request.messages else ""
        stop = "end_turn" if wanted <= output_tokens else "max_tokens"
        return Reply(text, int(_number(meta, "input_tokens")), min(wanted, output_tokens), stop)

    async def aclose(self) -> None:
        """Have nothing to close."""


def _meta(task: Task) -> dict[str, Any]:
    try:
        meta = task.meta
    except ValueError as error:
        raise InputRefused("meta is not JSON", str(error)) from None
    if not isinstance(meta, dict):
        raise InputRefused("meta is not a JSON object", repr(meta))
    return meta


def _number(meta: dict[str, Any], name: str) -> float:
    value = meta.get(name, 0)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < float("inf"):
        raise InputRefused(f"meta {name} is not a number from 0", repr(value))
    return value
