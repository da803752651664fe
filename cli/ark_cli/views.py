"""What commands show of an agent: one view for tables and for programs. Null is what is not known."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from rich.text import Text

from ark_api.moment import written
from ark_api.status import Mode
from ark_cli import output
from ark_cli.agents import Agent, span
from ark_cli.kubectl import Object
from ark_cli.live import Reading


@dataclass(frozen=True, slots=True)
class QueueView:
    """An agent's queue: now, or as the operator saw it last."""

    waiting: int | None
    in_flight: int | None
    oldest_waiting_seconds: float | None
    dead_letters: int | None

    @classmethod
    def of(cls, agent: Agent, reading: Reading) -> QueueView:
        """Return the view of an agent's queue."""
        if reading.depth is None:
            last = agent.status.get("queue") or {}
            return cls(last.get("waiting"), last.get("inFlight"), None, reading.dead)
        depth = reading.depth
        return cls(depth.waiting, depth.in_flight, depth.oldest_waiting_ms / 1000, reading.dead)

    @property
    def oldest(self) -> str:
        """How long the oldest task waits; a dash where none does, or nobody knows."""
        if self.oldest_waiting_seconds is None or not self.waiting:
            return "-"
        return span(self.oldest_waiting_seconds)

    def as_data(self, stream: str) -> Object:
        """Return it for programs."""
        return {
            "stream": stream,
            "waiting": self.waiting,
            "inFlight": self.in_flight,
            "oldestWaitingSeconds": self.oldest_waiting_seconds,
            "deadLetters": self.dead_letters,
        }


@dataclass(frozen=True, slots=True)
class BudgetView:
    """An agent's budget: now, or as the operator saw it last."""

    limit: int | None
    per_call: int
    used: int | None
    input: int | None
    output: int | None
    reserved: int | None
    exceeded: bool
    restored_at: datetime | None

    @classmethod
    def of(cls, agent: Agent, reading: Reading) -> BudgetView:
        """Return the view of an agent's budget."""
        budget, usage = agent.budget, reading.usage
        if usage is None:
            last = agent.status.get("dailyTokenUsage") or {}
            tokens = last.get("totalTokens"), last.get("inputTokens"), last.get("outputTokens")
            return cls(budget.daily, budget.per_call, *tokens, None, agent.mode == Mode.BUDGET, None)
        tokens = usage.total, usage.input, usage.output
        return cls(budget.daily, budget.per_call, *tokens, usage.reserved, usage.exceeded, usage.restored_at)

    @property
    def left(self) -> int | None:
        """Tokens that may still be reserved."""
        if self.used is None or self.limit is None:
            return None
        return max(0, self.limit - self.used - (self.reserved or 0))

    @property
    def bar(self) -> Text:
        """How much is used; a dash where there is no limit, and a question mark where nobody knows."""
        if self.limit is None:
            return Text("-")
        return Text("?") if self.used is None else output.bar(self.used, self.limit)

    def restored_in(self, now: datetime) -> str:
        """Return when a full call fits again; a dash where one does."""
        if not self.exceeded:
            return "-"
        return "?" if self.restored_at is None else span((self.restored_at - now).total_seconds())

    def as_data(self) -> Object:
        """Return it for programs."""
        return {
            "limitTokens": self.limit,
            "perCallTokens": self.per_call,
            "usedTokens": self.used,
            "inputTokens": self.input,
            "outputTokens": self.output,
            "reservedTokens": self.reserved,
            "leftTokens": self.left,
            "exceeded": self.exceeded,
            "restoredAt": None if self.restored_at is None else written(self.restored_at),
        }


def number(value: int | None) -> str:
    """Return a number, or a dash where it is not known."""
    return "-" if value is None else str(value)
