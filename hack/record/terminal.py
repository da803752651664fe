"""A terminal of a fixed size that a program runs in, and what was to be seen in it."""

from __future__ import annotations

import asyncio
import fcntl
import os
import signal
import struct
import termios
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

import pyte

COLUMNS = 88


class NotRecorded(Exception):
    """The program failed; the message has the end of what it showed."""


@dataclass(frozen=True, slots=True)
class Run:
    """Characters of one row that look alike."""

    column: int
    text: str
    colour: str
    """Its name or six hexadecimal digits; ``default``."""
    bold: bool


Row = tuple[Run, ...]


@dataclass(frozen=True, slots=True)
class Frame:
    """What stood in the terminal from a moment on."""

    at: float
    """Seconds since the first one."""
    rows: tuple[Row, ...]


async def record(
    command: Sequence[str], environment: Mapping[str, str], *, rows: int, every: float, limit: float = 600.0
) -> tuple[list[Frame], float]:
    """Run a program to its end; return what was to be seen, and for how long, in seconds.

    Args:
        command: the program and its arguments.
        environment: its variables.
        rows: height of the terminal.
        every: seconds; what changes faster is not recorded.
        limit: the most seconds that it may run.

    Raises:
        NotRecorded: it ended with an error, or not at all.
    """
    screen = pyte.Screen(COLUMNS, rows)
    stream = pyte.ByteStream(screen)
    ours, theirs = os.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", rows, COLUMNS, 0, 0))
    frames: list[Frame] = []
    try:
        variables = {**environment, "TERM": "xterm-256color", "COLUMNS": str(COLUMNS), "LINES": str(rows)}
        program = await asyncio.create_subprocess_exec(
            *command, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True, env=variables
        )
        os.close(theirs)
        began = time.monotonic()
        try:
            async with asyncio.timeout(limit):
                async with _feeding(ours, stream) as over:
                    while True:
                        await _passed(over, every)
                        seen = tuple(_row(screen, number) for number in range(rows))
                        if not frames:
                            began = time.monotonic()  # until then there was nothing to see
                        if any(seen) and (not frames or seen != frames[-1].rows):
                            frames.append(Frame(time.monotonic() - began, seen))
                        if over.is_set():
                            break
                code = await program.wait()
        except TimeoutError as error:
            raise NotRecorded(f"{command[0]} was still running after {limit:g} s") from error
        finally:
            with suppress(ProcessLookupError):
                os.killpg(program.pid, signal.SIGKILL)
            await program.wait()
    finally:
        os.close(ours)
    if code != 0:
        raise NotRecorded(f"{command[0]} ended with {code}:\n" + "\n".join(screen.display).rstrip())
    return frames, time.monotonic() - began


@asynccontextmanager
async def _feeding(terminal: int, stream: pyte.ByteStream) -> AsyncIterator[asyncio.Event]:
    """Feed what a program writes while the context is open; gives what is set at its end."""
    over = asyncio.Event()
    loop = asyncio.get_running_loop()

    def read() -> None:
        try:
            text = os.read(terminal, 65536)
        except OSError:  # Linux: the other side is closed
            text = b""
        if text:
            stream.feed(text)
        else:
            loop.remove_reader(terminal)
            over.set()

    loop.add_reader(terminal, read)
    try:
        yield over
    finally:
        loop.remove_reader(terminal)


async def _passed(over: asyncio.Event, seconds: float) -> None:
    """Return after a time, or at the end."""
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await over.wait()


def _row(screen: pyte.Screen, number: int) -> Row:
    runs: list[Run] = []
    for column in range(COLUMNS):
        cell = screen.buffer[number][column]
        last = runs[-1] if runs else None
        if last is not None and (last.colour, last.bold) == (cell.fg, cell.bold):
            runs[-1] = Run(last.column, last.text + cell.data, cell.fg, cell.bold)
        else:
            runs.append(Run(column, cell.data, cell.fg, cell.bold))
    return tuple(run for run in map(_stripped, runs) if run.text)


def _stripped(run: Run) -> Run:
    text = run.text.lstrip(" ")
    return Run(run.column + len(run.text) - len(text), text.rstrip(" "), run.colour, run.bold)
