"""Pauses between two tries of what has failed."""

from __future__ import annotations

import random
from dataclasses import dataclass

_MOST_DOUBLINGS = 60
"""What fails for weeks would else ask for a float that there is none of."""


@dataclass(frozen=True, slots=True)
class Backoff:
    """Pauses that double with every failure in a row."""

    first: float
    """After the first failure, seconds."""
    longest: float
    """No pause grows beyond this, seconds."""
    jitter: tuple[float, float] = (1.0, 1.0)
    """Between which shares of a pause chance chooses: what failed together does not come back together (AWS
    Architecture Blog, "Exponential Backoff And Jitter", 2015)."""

    def pause(self, failures: int, chance: float | None = None) -> float:
        """Return the pause, seconds.

        Args:
            failures: in a row, 1 for the first.
            chance: a number in [0, 1), where in the jitter the pause lies; drawn at random where None.
        """
        full = min(self.longest, self.first * 2.0 ** min(failures - 1, _MOST_DOUBLINGS))
        least, most = self.jitter
        drawn = random.random() if chance is None else chance  # noqa: S311 - no secret
        return full * (least + (most - least) * drawn)
