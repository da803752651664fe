r"""The worker runtime: takes tasks from an agent's queue and answers them with an LLM.

``ark-agent`` asks the LLM what stands in a task's prompt. A handler of one's own is a few lines, and the daily token
budget holds around its calls::

    import ark_agent

    async def review(context: ark_agent.Context) -> str:
        diff = context.task.fields["diff"]
        reply = await context.call(f"Review this change:\n{diff}")
        return reply.text

    ark_agent.run(review)

Knows Redis (through the task queue) and an LLM (through a provider), and nothing of Kubernetes or gRPC.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ark_agent.context import Context, Handler, answer_prompt
    from ark_agent.failures import Rejected
    from ark_agent.gate import NotNow
    from ark_agent.main import run
    from ark_agent.providers import Message, Reply
    from ark_agent.providers.errors import ProviderError

__all__ = [
    "Context",
    "Handler",
    "Message",
    "NotNow",
    "ProviderError",
    "Rejected",
    "Reply",
    "answer_prompt",
    "run",
]

_MODULES = {
    "Context": "context",
    "Handler": "context",
    "Message": "providers",
    "NotNow": "gate",
    "ProviderError": "providers.errors",
    "Rejected": "failures",
    "Reply": "providers",
    "answer_prompt": "context",
    "run": "main",
}
"""Imported when they are used: the program's first lines (``__main__``) must run before seconds of imports do."""


def __getattr__(name: str) -> object:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
