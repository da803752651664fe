"""Show the demo while it runs: a live chart in a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Protocol

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.text import Text

from hack.demo.measure import Sample

_BARS = " ▁▂▃▄▅▆▇█"
_LINE_SECONDS = 2.0
_WIDTH_OF_NUMBERS = 18
_WIDTH_OF_MOST = 11
_WIDTH_WITH_CHART = 30
_WIDTH_WITH_MOST = 50
Row = tuple[str, str, Callable[[Sample], int]]
"""Name, colour, and what it shows."""
ROWS: tuple[Row, ...] = (
    ("waiting", "yellow", lambda sample: sample.waiting),
    ("in flight", "cyan", lambda sample: sample.in_flight),
    ("replicas", "green", lambda sample: sample.replicas),
    ("tasks done", "blue", lambda sample: sample.done),
)
BUDGET_ROWS: tuple[Row, ...] = (("tokens", "red", lambda sample: sample.tokens), *ROWS)


class Progress(Protocol):
    """Shows samples as they come."""

    def show(self, samples: Sequence[Sample], real_seconds_left: float, phase: str) -> None:
        """Show the samples up to now."""

    def close(self) -> None:
        """End the display."""


def progress(console: Console, trace_seconds: float, rows: Sequence[Row] = ROWS) -> Progress:
    """Return the display that fits where the output goes."""
    kind = LiveChart if console.is_terminal else PlainLines
    return kind(console, trace_seconds, rows)


class PlainLines:
    """A line every few seconds."""

    def __init__(self, console: Console, trace_seconds: float, rows: Sequence[Row] = ROWS) -> None:
        self._console = console
        self._trace_seconds = trace_seconds
        self._rows = rows
        self._shown_at = float("-inf")

    def show(self, samples: Sequence[Sample], real_seconds_left: float, phase: str) -> None:
        """Print a line, if the last one is old enough."""
        now = time.monotonic()
        if now - self._shown_at < _LINE_SECONDS:
            return
        self._shown_at = now
        last = samples[-1]
        percent = min(100, round(100 * last.at / self._trace_seconds))
        shown = ", ".join(f"{name.removeprefix('tasks ')} {quantity(last):,}" for name, _, quantity in self._rows)
        print(
            f"{percent:3d} %  {phase}: {shown}; about {real_seconds_left:.0f} s left",
            file=self._console.file,
            flush=True,
        )

    def close(self) -> None:
        """Nothing is left to end."""


class LiveChart:
    """A chart that grows in place."""

    def __init__(self, console: Console, trace_seconds: float, rows: Sequence[Row] = ROWS) -> None:
        self._console = console
        self._trace_seconds = trace_seconds
        self._rows = rows
        self._live = Live(console=console, refresh_per_second=8, transient=False)
        self._live.start()

    def show(self, samples: Sequence[Sample], real_seconds_left: float, phase: str) -> None:
        """Draw the samples up to now."""
        drawing = render(samples, self._trace_seconds, real_seconds_left, phase, self._console.width, self._rows)
        self._live.update(drawing)

    def close(self) -> None:
        """Leave the last drawing on the screen."""
        self._live.stop()


def render(
    samples: Sequence[Sample],
    trace_seconds: float,
    real_seconds_left: float,
    phase: str,
    width: int,
    shown: Sequence[Row] = ROWS,
) -> RenderableType:
    """Draw a chart row for each quantity, over the whole trace, and a progress bar."""
    last = samples[-1]
    with_most, with_chart = width >= _WIDTH_WITH_MOST, width >= _WIDTH_WITH_CHART
    chart_width = width - (_WIDTH_OF_NUMBERS if not with_most else _WIDTH_OF_NUMBERS + _WIDTH_OF_MOST)
    rows = []
    for name, colour, quantity in shown:
        columns = _columns(samples, trace_seconds, max(1, chart_width), quantity)
        most = max(columns)
        row = f"{name:<10} {quantity(last):>6}"
        if with_chart:
            row += f" {sparkline(columns, most):<{chart_width}}"
        row += f" max {most}" if with_most else ""
        rows.append(Text(row[:width], style=colour, no_wrap=True))
    header = f"{phase} · trace {_clock(last.at)} of {_clock(trace_seconds)} · about {real_seconds_left:.0f} s left"
    done = min(width, round(width * last.at / trace_seconds))
    bar = Text("━" * done, style="magenta", no_wrap=True) + Text("━" * (width - done), style="dim")
    return Group(Text(header[:width], no_wrap=True), bar, *rows)


def sparkline(values: Sequence[int], most: int) -> str:
    """Draw values as bars; anything above zero is seen."""
    if most <= 0:
        return _BARS[0] * len(values)
    return "".join(_BARS[0 if value <= 0 else max(1, round(value / most * 8))] for value in values)


def _columns(
    samples: Sequence[Sample], trace_seconds: float, width: int, quantity: Callable[[Sample], int]
) -> list[int]:
    """Return the greatest value in each of `width` parts of the trace, up to now; a part without a sample keeps on."""
    columns: list[int] = []
    for sample in samples:
        column = min(width - 1, int(sample.at / trace_seconds * width))
        while len(columns) <= column:
            columns.append(columns[-1] if columns and len(columns) < column else 0)
        columns[column] = max(columns[column], quantity(sample))
    return columns


def _clock(seconds: float) -> str:
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"
