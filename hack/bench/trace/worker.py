"""What the workers of the trace benchmark do: the echo provider, and a note in Redis of each begin and end."""

from __future__ import annotations

import functools
import os

import ark_agent
from ark_agent.context import answer_prompt
from ark_taskqueue import Client, connect

NOTES = "bench:trace:notes"
"""Stream with one entry for each begin and end; its ids are Redis' own time, as those of the tasks."""


@functools.cache
def _client() -> Client:
    return connect(os.environ["AGENT_REDIS"], max_connections=5)


async def work(context: ark_agent.Context) -> str:
    """Return the prompt, and note it."""
    await _note(context.task.id, "begin")
    answer = await answer_prompt(context)
    await _note(context.task.id, "end")
    return answer


async def _note(task: str, what: str) -> None:
    await _client().execute_command("XADD", NOTES, "*", "task", task, "what", what)
