"""What answers a task. One module for each provider; `make` finds it by name."""

from __future__ import annotations

from typing import Protocol

from ark_agent.providers.echo import EchoProvider
from ark_taskqueue import Outcome, Task


class Provider(Protocol):
    """Answers tasks; must let itself be cancelled at any await."""

    async def answer(self, task: Task) -> Outcome:
        """Do a task's work.

        Raises:
            Exception: the task failed; the message is kept with it, and it is tried again later.
        """


PROVIDERS = {"echo": EchoProvider}


def make(name: str) -> Provider:
    """Make the provider of a name; `PROVIDERS` has the names."""
    return PROVIDERS[name]()
