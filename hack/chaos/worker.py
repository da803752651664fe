"""The workers that faults are played on: the echo provider, and a note of all they do in a Redis that nobody breaks.

``CHAOS_CLOCK_SHIFT`` makes this process' wall clock wrong by so many seconds.
"""

from __future__ import annotations

import functools
import os
import time

import ark_agent
from ark_agent.context import answer_prompt
from ark_taskqueue import Client, connect

NOTES = "chaos:notes"
"""Stream with one entry for each attempt that began."""
TRUTH = "chaos:tokens:"
"""Prefix of the keys that count what the calls of a queue have cost."""


@functools.cache
def _client() -> Client:
    return connect(os.environ["CHAOS_NOTES"], max_connections=5)


async def work(context: ark_agent.Context) -> str:
    """Note the attempt and its cost, then make the call."""
    meta = context.task.meta
    queue = os.environ["AGENT_QUEUE"]
    await _client().execute_command("XADD", NOTES, "*", "queue", queue, "task", context.task.id)
    answer = await answer_prompt(context)
    await _client().execute_command("INCRBY", TRUTH + queue, meta["input_tokens"] + meta["output_tokens"])
    return answer


def _shift_clock(seconds: float) -> None:
    real = time.time
    time.time = lambda: real() + seconds


if __name__ == "__main__":
    _shift_clock(float(os.environ.get("CHAOS_CLOCK_SHIFT", "0")))
    ark_agent.run(work)
