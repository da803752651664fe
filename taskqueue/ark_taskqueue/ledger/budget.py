"""Tokens: what an agent may spend, what a call may cost and has cost, and what is known of 24 hours."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class Budget:
    """What an agent may spend, tokens, input and output together."""

    daily: int | None
    """In any 24 hours; None for no limit."""
    per_call: int
    """In one call."""


@dataclass(frozen=True, slots=True)
class Reservation:
    """Tokens that one call may cost."""

    number: int
    tokens: int
    ends_ms: int
    """When it ends by itself; server's time, milliseconds."""


@dataclass(frozen=True, slots=True)
class Settlement:
    """What a call has cost, to be put in the place of its reservation."""

    reservation: Reservation
    input_tokens: int
    output_tokens: int
    again: bool = False
    """Whether it may have been written down before: it was asked for, and no answer came."""

    def __post_init__(self) -> None:
        if self.input_tokens < 0 or self.output_tokens < 0:
            raise ValueError(f"a call cannot cost {self.input_tokens} and {self.output_tokens} tokens")

    @property
    def arguments(self) -> tuple[int, ...]:
        """What the scripts are told of it."""
        reservation = self.reservation
        given = (reservation.number, reservation.tokens, reservation.ends_ms)
        return (*given, self.input_tokens, self.output_tokens, int(self.again))


@dataclass(frozen=True, slots=True)
class TokenUsage:
    """Tokens of the last 24 hours."""

    input: int
    output: int
    reserved: int
    """By calls that are under way."""
    exceeded: bool
    """Whether a full call no longer fits beside what was spent."""
    restored_at: datetime | None
    """When one will fit again; UTC. None where one fits now, or none ever will."""
    seconds: float | None = None
    """How long that is from now, by the server's clock."""

    @property
    def total(self) -> int:
        """Input and output."""
        return self.input + self.output
