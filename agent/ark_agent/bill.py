"""What the calls of one attempt have cost."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from ark_taskqueue import Settlement


class Bill:
    """The costs of one attempt, for its task's result, and the owner of the one that is settled with the task.

    A call that ends with its task is settled in the same step. There is room for one: of calls that run at the same
    time it is the one that ends last. Every other cost is owed as soon as it is known.

    Args:
        owe: takes what is not settled with the task; see `ark_agent.debts.Debts.owe`.
    """

    def __init__(self, owe: Callable[[Settlement], None]) -> None:
        self.input_tokens = 0
        self.output_tokens = 0
        self.stop = ""
        """Why the LLM stopped in the last call."""
        self.answered = False
        """Whether the provider has answered a call."""
        self._owe = owe
        self._last: Settlement | None = None
        self._over = False

    def charge(self, settlement: Settlement, *, with_task: bool = False) -> None:
        """Take what a call has cost.

        Args:
            settlement: the cost, and the reservation that it takes the place of.
            with_task: whether the task ends right after.
        """
        self.input_tokens += settlement.input_tokens
        self.output_tokens += settlement.output_tokens
        owed: Settlement | None = settlement
        if with_task and not self._over:
            owed, self._last = self._last, settlement
        if owed is not None:
            self._owe(owed)

    def last(self) -> Settlement | None:
        """Return the call to settle with the task, whose end is reported now; asked again, it says so."""
        self._over = True
        last = self._last
        if last is not None:
            self._last = replace(last, again=True)
        return last

    def settled(self) -> None:
        """Note that the task's end was written, and the last call with it."""
        self._last = None

    def close(self) -> None:
        """Owe what was not settled with the task."""
        self._over = True
        last, self._last = self._last, None
        if last is not None:
            self._owe(last)
