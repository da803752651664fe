"""Answer one question (`ark_sizing.exchange`) from standard input on standard output, at a low priority."""

from __future__ import annotations

import os
import sys

from ark_sizing.exchange import answered

_NICENESS = 10


def main() -> None:
    """Read, answer, end."""
    os.nice(_NICENESS)
    sys.stdout.buffer.write(answered(sys.stdin.buffer.read()))


if __name__ == "__main__":
    main()
