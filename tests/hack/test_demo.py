"""The demo from the outside: a small trace to its end, bad input, and Ctrl-C."""

from __future__ import annotations

import io
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from rich.console import Console

from hack.demo import chart
from hack.demo.measure import Sample
from hack.local.process import heed_interrupts

ROOT = Path(__file__).resolve().parents[2]


def small_trace(folder: Path, seconds: int = 40) -> Path:
    rows = [f"2024-01-01 00:00:{second:02d}.5,1000,20" for second in range(seconds) for _ in range(1 + second % 4)]
    path = folder / "small.csv"
    path.write_text("TIMESTAMP,ContextTokens,GeneratedTokens\n" + "\n".join(rows) + "\n")
    return path


def demo(*flags: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "hack.demo", *flags],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "COLUMNS": "80"},
        start_new_session=True,
        preexec_fn=heed_interrupts,  # noqa: PLW1509 - one call
    )


@pytest.mark.parametrize("ending", ["png", "svg"])
def test_a_trace_is_played_from_zero_to_zero_with_every_task_done_once(tmp_path: Path, ending: str) -> None:
    picture = tmp_path / f"out.{ending}"
    given = (f"--trace={small_trace(tmp_path)}", "--speed=20", "--max-replicas=3", f"--picture={picture}")
    process = demo(*given, *(() if ending == "png" else ("--no-budget",)))
    shown, errors = process.communicate(timeout=100)
    assert (process.returncode, errors) == (0, ""), shown
    table = {name.strip(): value.strip() for name, value in re.findall(r"│([^│]+)│([^│]+)│", shown)}
    assert table["tasks submitted"] == table["tasks done"] == "100"
    assert (table["tasks lost"], table["tasks retried"], table["pods killed"]) == ("0", "0", "0")
    assert int(table["most replicas"]) >= 1
    assert "replaying: waiting" in shown, "plain lines where there is no terminal"
    assert picture.stat().st_size > 1000
    capped = picture.with_stem("out-budget")
    assert capped.exists() == (ending == "png")
    if ending == "png":
        assert (table["of them done"], table["most tokens in 24 h"]) == ("48", "24,000")
        assert int(table["stops at the cap"]) >= 1
        assert "cap reached, waiting for the window" in shown
        assert capped.stat().st_size > 1000


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--trace=/nowhere.csv"], "demo: trace /nowhere.csv cannot be read: No such file or directory"),
        (["--speed=0"], "'0' is not a number above 0"),
        (["--speed=fast"], "--speed: 'fast' is not a number above 0"),
        (["--max-replicas=0"], "'0' is not a whole number from 1 to 100"),
        (["--picture=out.docx"], "--picture: 'out.docx' does not end in .png or .svg"),
    ],
)
def test_bad_input_ends_with_a_line_that_names_it(flags: list[str], message: str) -> None:
    process = demo(*flags)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 2
    assert message in errors
    assert "Traceback" not in errors


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_when_stopped_it_leaves_no_process_behind(tmp_path: Path, number: signal.Signals) -> None:
    process = demo(f"--trace={small_trace(tmp_path)}", "--speed=2")
    own = psutil.Process(process.pid)
    deadline = time.monotonic() + 60
    # Redis, the scaler, the process that pods are forked from, and at least one pod.
    while len(children := own.children(recursive=True)) < 5:
        assert time.monotonic() < deadline, "the demo does not come up"
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)
    process.send_signal(number)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "demo: stopped" in errors
    assert "Traceback" not in errors
    _, alive = psutil.wait_procs(children, timeout=30)
    assert not alive


def samples(count: int) -> list[Sample]:
    return [
        Sample(at=i * 1.0, submitted=i * 3, waiting=i % 7, in_flight=i % 5, replicas=i % 3) for i in range(1, count)
    ]


@pytest.mark.parametrize("width", [20, 40, 80, 200])
def test_the_chart_fits_any_terminal(width: int) -> None:
    console = Console(file=io.StringIO(), width=width, force_terminal=True, color_system=None)
    console.print(chart.render(samples(100), 99.0, 12.0, "replaying", width))
    shown = console.file.getvalue()  # type: ignore[attr-defined]
    header, bar, *rows = shown.splitlines()
    assert header.startswith("replaying")
    assert set(bar) == {"━"}
    assert [row[:10].strip() for row in rows] == ["waiting", "in flight", "replicas", "tasks done"]
    assert all(len(line) <= width for line in shown.splitlines())


def test_little_is_seen_beside_much() -> None:
    assert chart.sparkline([0, 1, 500, 1000], 1000) == " ▁▄█"
    assert chart.sparkline([0, 0], 0) == "  "
