"""Recordings: what a program shows in a terminal becomes a picture that moves."""

from __future__ import annotations

import asyncio
import os
import re
import sys
from pathlib import Path
from xml.etree import ElementTree

import psutil
import pytest

from hack.record import picture, terminal
from hack.record.terminal import Frame, NotRecorded, Run
from tests.eventually import eventually

SHOWS = """
import os
print("\\x1b[1mfirst <line>\\x1b[0m", flush=True)
print(f"  \\x1b[32m{os.get_terminal_size().columns}\\x1b[0m x {os.get_terminal_size().lines}")
"""


async def test_what_a_program_shows_is_recorded_with_its_colours() -> None:
    line = [sys.executable, "-c", SHOWS]
    frames, seconds = await terminal.record(line, os.environ, rows=5, every=0.05)
    assert frames[-1].rows[:2] == (
        (Run(0, "first <line>", "default", True),),
        (Run(2, "88", "green", False), Run(5, "x 5", "default", False)),
    )
    assert seconds >= frames[-1].at


async def test_a_program_that_fails_is_an_error_with_what_it_said() -> None:
    with pytest.raises(NotRecorded, match=r"ended with 3:\nbroken"):
        await terminal.record([sys.executable, "-c", "print('broken'); exit(3)"], os.environ, rows=5, every=0.05)


async def test_a_program_that_never_ends_is_ended(tmp_path: Path) -> None:
    """At the limit, and when the recording is cancelled."""
    note = tmp_path / "pid"
    program = f"import os, time; open({str(note)!r}, 'w').write(str(os.getpid())); time.sleep(600)"
    line = [sys.executable, "-c", program]
    with pytest.raises(NotRecorded, match=r"still running after 3 s"):
        await terminal.record(line, os.environ, rows=5, every=0.05, limit=3)
    assert not note.exists() or not psutil.pid_exists(int(note.read_text()))
    note.unlink(missing_ok=True)
    recording = asyncio.create_task(terminal.record(line, os.environ, rows=5, every=0.05))
    await eventually(lambda: note.exists() and note.read_text() != "", "the program")
    recording.cancel()
    with pytest.raises(asyncio.CancelledError):
        await recording
    assert not psutil.pid_exists(int(note.read_text()))


def test_the_picture_shows_each_frame_at_its_time_and_draws_a_row_once() -> None:
    same = (Run(0, "a <b>", "cyan", True),)
    frames = [Frame(0.0, (same, ())), Frame(2.0, (same, (Run(3, "x", "ff0000", False),)))]
    text = picture.drawn(frames, 12.0, title="kubectl ark top", speed=2.0)
    ElementTree.fromstring(text)
    assert text.count("a &lt;b&gt;") == 1
    assert text.count('<use href="#r0"') == 2
    assert "animation:play 10.0s" in text, "6 s, and 4 for the end"
    assert "10.000%{transform:translateY(-36px)}" in text
    assert not re.search(r"""(?:href|src)=["'](?!#)|url\(|@import|<script""", text), "loads nothing, runs nothing"
