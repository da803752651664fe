"""The workers of the trace benchmark: the echo provider, a note in Redis as each attempt begins and ends, a slow start.

A Pod with an LLM agent takes a while until it works. Two seconds from the process' start to the first claim, for every
contender the same, however busy the machine is with starting twenty of them.
"""

from __future__ import annotations

import functools
import os
import time

import psutil

import ark_agent
from ark_agent.context import answer_prompt
from ark_taskqueue import Client, connect

NOTES = "bench:trace:notes"
"""Stream with one entry for each begin and end; its ids are Redis' own time, as those of the tasks."""
START_SECONDS = 2.0


@functools.cache
def _client() -> Client:
    return connect(os.environ["AGENT_REDIS"], max_connections=5)


async def work(context: ark_agent.Context) -> str:
    """Answer the prompt, and note it."""
    await _note(context.task.id, "begin")
    answer = await answer_prompt(context)
    await _note(context.task.id, "end")
    return answer


async def _note(task: str, what: str) -> None:
    await _client().execute_command("XADD", NOTES, "*", "task", task, "what", what)


if __name__ == "__main__":
    age = time.time() - psutil.Process().create_time()
    time.sleep(max(0.0, START_SECONDS - age))
    ark_agent.run(work)
