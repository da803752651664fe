"""Programs of this repository that start others end in order, and take those with them."""

from __future__ import annotations

import fcntl
import os
import pty
import signal
import subprocess
import sys
import termios
import textwrap
from pathlib import Path

import psutil
import pytest

from hack.local.command import BROKEN_PIPE
from hack.local.process import signals_wait

_PROGRAM = textwrap.dedent("""
    import asyncio, sys
    from pathlib import Path
    from hack.local import command
    from hack.local.process import ChildProcess

    async def play(chatty):
        program = [sys.executable, "-c", "import time; time.sleep(600)"]
        with ChildProcess(program, Path(sys.argv[1])) as child:
            print(child.pid, flush=True)
            while True:
                await asyncio.sleep(0.1 if chatty else 600)
                print("still there", flush=True)

    def main():
        asyncio.run(play(chatty=len(sys.argv) > 2))

    command.run(main)
""")


def ignore_interrupts() -> None:
    """Be what a shell makes of a background job."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGKILL])
def test_a_background_job_ends_with_all_it_has_started(tmp_path: Path, number: signal.Signals) -> None:
    command = [sys.executable, "-c", _PROGRAM, str(tmp_path / "child.log")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, preexec_fn=ignore_interrupts) as process:  # noqa: PLW1509
        try:
            assert process.stdout is not None
            child = psutil.Process(int(process.stdout.readline()))
            process.send_signal(number)
            assert process.wait(30) == (-signal.SIGKILL if number is signal.SIGKILL else 130)
        finally:
            process.kill()
    _, alive = psutil.wait_procs([child], timeout=30)
    assert not alive


def child_of(process: subprocess.Popen[str]) -> psutil.Process:
    assert process.stdout is not None
    return psutil.Process(int(process.stdout.readline()))


def test_whoever_reads_its_output_going_away_ends_a_command_in_order(tmp_path: Path) -> None:
    command = [sys.executable, "-c", _PROGRAM, str(tmp_path / "child.log"), "chatty"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        child = child_of(process)
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.wait(30) == BROKEN_PIPE
        assert process.stderr.read() == ""
    _, alive = psutil.wait_procs([child], timeout=30)
    assert not alive


def test_a_closed_terminal_ends_a_command_with_all_it_has_started(tmp_path: Path) -> None:
    """`make demo` went on to its end, and with its output piped a server and a scaler stayed behind for ever."""
    leader, follower = pty.openpty()
    command = [sys.executable, "-c", _PROGRAM, str(tmp_path / "child.log"), "chatty"]

    def take_terminal() -> None:
        os.setsid()
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)

    with subprocess.Popen(
        command,
        stdin=follower,
        stdout=follower,
        stderr=follower,
        preexec_fn=take_terminal,  # noqa: PLW1509
    ) as process:
        os.close(follower)
        said = b""
        while b"\n" not in said:
            said += os.read(leader, 100)
        child = psutil.Process(int(said.split()[0]))
        os.close(leader)
        assert process.wait(30) == 130
    _, alive = psutil.wait_procs([child], timeout=30)
    assert not alive


def test_a_child_that_starts_others_takes_them_along(tmp_path: Path) -> None:
    grandparent = textwrap.dedent("""
        import subprocess, sys, time
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
        print(child.pid, flush=True)
        time.sleep(600)
    """)
    parent = textwrap.dedent(f"""
        import sys, time
        from pathlib import Path
        from hack.local.process import ChildProcess
        child = ChildProcess([sys.executable, "-c", {grandparent!r}], Path(sys.argv[1]))
        print(child.pid, flush=True)
        time.sleep(600)
    """)
    log = tmp_path / "child.log"
    with subprocess.Popen([sys.executable, "-c", parent, str(log)], stdout=subprocess.PIPE, text=True) as process:
        child = child_of(process)
        while not (log.exists() and log.read_text().strip()):
            assert process.poll() is None
        family = [child, psutil.Process(int(log.read_text()))]
        process.kill()
    _, alive = psutil.wait_procs(family, timeout=30)
    assert not alive


def test_a_signal_waits_until_a_child_is_looked_after() -> None:
    steps = []

    def stop(*_: object) -> None:
        steps.append("signal")

    before = signal.signal(signal.SIGTERM, stop)
    try:
        with signals_wait():
            signal.raise_signal(signal.SIGTERM)
            steps.append("started")
        assert steps == ["started", "signal"]
        assert signal.getsignal(signal.SIGTERM) is stop
    finally:
        signal.signal(signal.SIGTERM, before)
