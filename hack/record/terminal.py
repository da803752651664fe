"""A terminal of a fixed size that a program runs in, and what was to be seen in it."""

from __future__ import annotations

import fcntl
import os
import select
import signal
import struct
import subprocess
import termios
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pyte

COLUMNS = 88
_END_SECONDS = 10.0


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


def record(
    command: Sequence[str], environment: Mapping[str, str], *, rows: int, every: float
) -> tuple[list[Frame], float]:
    """Run a program to its end; return what was to be seen, and for how long, in seconds.

    Args:
        command: the program and its arguments.
        environment: its variables.
        rows: height of the terminal.
        every: seconds; what changes faster is not recorded.

    Raises:
        NotRecorded: it ended with an error.
    """
    screen = pyte.Screen(COLUMNS, rows)
    stream = pyte.ByteStream(screen)
    ours, theirs = os.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", rows, COLUMNS, 0, 0))
    began = time.monotonic()
    frames: list[Frame] = []
    try:
        program = subprocess.Popen(
            command,
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
            env={**environment, "TERM": "xterm-256color", "COLUMNS": str(COLUMNS), "LINES": str(rows)},
        )
        os.close(theirs)
        try:
            goes_on = True
            while goes_on:
                goes_on = _read(ours, stream, every)
                seen = tuple(_row(screen, number) for number in range(rows))
                if not frames:
                    began = time.monotonic()  # until then there was nothing to see
                if any(seen) and (not frames or seen != frames[-1].rows):
                    frames.append(Frame(time.monotonic() - began, seen))
            code = program.wait(_END_SECONDS)
        finally:
            if program.poll() is None:
                os.killpg(program.pid, signal.SIGKILL)
                program.wait()
    finally:
        os.close(ours)
    if code != 0:
        raise NotRecorded(f"{command[0]} ended with {code}:\n" + "\n".join(screen.display).rstrip())
    return frames, time.monotonic() - began


def _read(terminal: int, stream: pyte.ByteStream, seconds: float) -> bool:
    """Feed what a program writes within a time; return False at its end."""
    until = time.monotonic() + seconds
    while (left := until - time.monotonic()) > 0:
        if select.select([terminal], [], [], left)[0]:
            try:
                text = os.read(terminal, 65536)
            except OSError:  # Linux: the other side is closed
                return False
            if not text:
                return False
            stream.feed(text)
    return True


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
