"""What the workers of a queue agree on: how long leases last, when failed tasks are tried again, what is kept."""

from __future__ import annotations

from dataclasses import dataclass

from ark_process.backoff import Backoff

_EQUAL_JITTER = (0.5, 1.0)
DEFAULT_LEASE_SECONDS = 60.0
DEFAULT_RESULT_SECONDS = 3600.0
DEFAULT_LETTERS_KEPT = 10_000
DEFAULT_LETTERS_SECONDS = 30 * 24 * 3600.0
DEFAULT_RECORD_SECONDS = 24 * 3600.0
"""For so long a queue's demand is kept on record."""
REFUSED_WAIT_SECONDS = 300.0
"""A refused task that has waited for so long behind all others is offered before them."""
REFUSED_REMEMBER_SECONDS = 7 * 24 * 3600.0
THROTTLED_SECONDS = 3600.0
"""A rate limit refuses whom it will; who is refused for so long while others are answered asks for too much."""
SUSPECT_WAIT_SECONDS = 5.0
"""So long suspects are left to idle workers; after that a busy one takes one, and lets its other tasks end first."""


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often a task may fail, and how long it rests after each failure."""

    max_failures: int = 3
    """Failures after which a task becomes a dead letter (``maxRetries``); worker deaths count as failures."""
    first_backoff: float = 1.0
    """Rest after the first failure, seconds; it doubles with each further one."""
    longest_backoff: float = 300.0
    """The rest never grows beyond this, seconds."""

    def rest(self, failures: int, chance: float | None = None) -> float:
        """Return the rest after a number of failures, seconds.

        "Equal jitter": half of it is fixed, half is random, so that none comes back at once.

        Args:
            failures: how often the task has failed, at least 1.
            chance: see `ark_process.backoff.Backoff.pause`.
        """
        return Backoff(self.first_backoff, self.longest_backoff, _EQUAL_JITTER).pause(failures, chance)


@dataclass(frozen=True, slots=True)
class Leases:
    """How long a worker may be silent, and how long its results are kept."""

    seconds: float = DEFAULT_LEASE_SECONDS
    """A task whose worker did not renew it for so long is given to another one. The same for a queue's workers."""
    result_seconds: float = DEFAULT_RESULT_SECONDS
    """Time to live of a result."""

    @property
    def renew_every(self) -> float:
        """Seconds between renewals: two may be lost before the lease runs out."""
        return self.seconds / 3


@dataclass(frozen=True, slots=True)
class LettersKept:
    """How many dead letters a queue keeps: each has a prompt in it, and nothing is kept for ever."""

    count: int = DEFAULT_LETTERS_KEPT
    """At most; the oldest go first."""
    seconds: float = DEFAULT_LETTERS_SECONDS
    """For how long."""
