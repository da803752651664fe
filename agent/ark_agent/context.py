"""What a task's handler is given, and the handler that there is without one of the user's own."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from ark_agent.attempt_clock import AttemptClock
from ark_agent.bill import Bill
from ark_agent.calls import Calls
from ark_agent.failures import Rejected
from ark_agent.providers import Message, Reply, Request
from ark_agent.providers.errors import TOOL_STOPS
from ark_taskqueue import Task


class Context:
    """One attempt at one task.

    Args:
        task: what is to be done.
        calls: makes LLM calls.
        bill: is told what they cost.
        clock: of this attempt.
        system: the agent's system prompt.
    """

    def __init__(self, task: Task, calls: Calls, bill: Bill, clock: AttemptClock, *, system: str) -> None:
        self.task = task
        """What was submitted: ``task.prompt``, ``task.fields``, ``task.meta``."""
        self._calls = calls
        self._bill = bill
        self._clock = clock
        self._system = system

    async def call(
        self,
        prompt: str | Sequence[Message],
        *,
        system: str | None = None,
        model: str | None = None,
        last: bool = False,
    ) -> Reply:
        """Ask the LLM, within the agent's daily budget.

        Args:
            prompt: what the user says, or a whole conversation.
            system: system prompt; the agent's own where None.
            model: the agent's own where None.
            last: whether the handler ends right after; then the call's cost is written down in the same step as the
                task's end.

        Raises:
            NotNow: the budget is used up, or the provider is busy for longer; let it pass, and the task is done later.
            ProviderError: there is no answer; let it pass, and the task is tried again.
        """
        messages = (Message("user", prompt),) if isinstance(prompt, str) else tuple(prompt)
        system = self._system if system is None else system
        request = Request(self.task, model or self._calls.model, messages, system)
        return await self._calls.call(request, self._bill, self._clock, last=last)


Handler = Callable[[Context], Awaitable[object]]
"""Does a task: returns text, or anything that JSON can hold. An exception is a failed attempt, `Rejected` the last."""


async def answer_prompt(context: Context) -> str:
    """Ask the LLM what is in the task's field ``prompt``, and return its answer.

    Raises:
        Rejected: there is no prompt, or the LLM asks for a tool.
    """
    if not context.task.prompt:
        raise Rejected("the task has no field 'prompt', or it is empty")
    reply = await context.call(context.task.prompt, last=True)
    if reply.stop in TOOL_STOPS:
        raise Rejected(f"the LLM stopped to use a tool ({reply.stop}), and this agent has none")
    return reply.text
