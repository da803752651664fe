"""Say how far a long wait is: in place on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import sys
import time

_IN_PLACE_SECONDS = 0.2
_LINE_SECONDS = 20.0


class Progress:
    """Counts the steps of one long piece of work on standard error."""

    def __init__(self, title: str) -> None:
        self._title = title
        self._began = time.monotonic()
        self._in_place = sys.stderr.isatty()
        self._shown_at = self._began
        self._steps = 0
        print(f"{title} ...", file=sys.stderr, flush=True)

    def step(self, what: str) -> None:
        """Take a step."""
        self._steps += 1
        now = time.monotonic()
        if now - self._shown_at < (_IN_PLACE_SECONDS if self._in_place else _LINE_SECONDS):
            return
        self._shown_at = now
        line = f"  {now - self._began:4.0f} s, step {self._steps}: {what}"
        if self._in_place:
            print(f"\r\x1b[K{line[:79]}", end="", file=sys.stderr, flush=True)
        else:
            print(line[:120], file=sys.stderr, flush=True)

    def done(self) -> None:
        """Say how long it took."""
        start = "\r\x1b[K" if self._in_place else ""
        print(f"{start}  done in {time.monotonic() - self._began:.0f} s", file=sys.stderr, flush=True)
