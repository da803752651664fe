"""When a failed task is tried again."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often a task may fail, and how long it rests after each failure."""

    max_failures: int = 3
    """Failures after which a task becomes a dead letter (``maxRetries``); worker deaths count as failures."""
    first_backoff: float = 1.0
    """Rest after the first failure, seconds; it doubles with each further one."""
    longest_backoff: float = 300.0
    """The rest never grows beyond this, seconds."""

    def backoff(self, failures: int, jitter: float) -> float:
        """Answer the rest after a number of failures, seconds.

        "Equal jitter": half of the exponential backoff is fixed, half is random, so that tasks that failed together
        (a provider's outage) do not come back together, and none comes back at once (AWS Architecture Blog,
        "Exponential Backoff And Jitter", 2015).

        Args:
            failures: how often the task has failed, at least 1.
            jitter: a random number in [0, 1).
        """
        # The exponent is bounded so that the power stays a small float.
        full = min(self.longest_backoff, self.first_backoff * 2.0 ** min(failures - 1, 60))
        return full / 2 + jitter * full / 2
