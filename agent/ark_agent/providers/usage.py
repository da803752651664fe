"""What a call has cost, from what a provider says of it.

Providers count differently: some leave reasoning out of the output, some report zeros for "not counted". Rather too
much is booked than too little (contract C3), and what cannot be believed counts as not said.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

MOST_TOKENS = 10**9
"""A call that says it has cost more is not believed."""


@dataclass(frozen=True, slots=True)
class Reported:
    """Tokens as a provider reports them; None where it does not, or where it cannot be believed."""

    read: int | None = None
    """Of the input, those from a cache included."""
    written: int | None = None
    total: int | None = None
    reasoning: int | None = None
    """Of what was written; by some servers beside it."""
    cached: int = 0
    """Of the input, from a cache or into one, where `read` is not known."""

    @property
    def least(self) -> int:
        """What the call has cost at least, whatever else is not known of it."""
        return max((self.read or self.cached) + max(self.written or 0, self.reasoning or 0), self.total or 0)

    def spent(self, input_estimate: int, output_estimate: int) -> tuple[int | None, int | None]:
        """Return the tokens of input and output, together no less than the total; None for one that is not known.

        A zero where there must have been some means that nothing was counted: it is estimated.

        Args:
            input_estimate: about what the LLM has read.
            output_estimate: about what it has written, the text of the answer alone.
        """
        read, written, total = self.read, self.written, self.total or 0
        if written is not None and (self.reasoning or 0) > written:
            written += self.reasoning or 0  # reported beside the output: it cannot be a part of it
        if read == 0:
            read = max(input_estimate, total - (written or 0))
        if written == 0:
            written = max(output_estimate, total - (read or 0), 0)
        if read is not None and written is None and total:
            written = max(0, total - read)
        if read is not None and written is not None:
            written = max(written, total - read)
        return read, written


def tokens(value: object) -> int | None:
    """Return a number of tokens; None where it is none that can be believed."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        return None
    return int(value) if 0 <= value <= MOST_TOKENS and value == int(value) else None
