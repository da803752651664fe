"""Child processes that always end: by their id, politely first."""

from __future__ import annotations

import ctypes
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

from hack.local import guard

_FIRST_PORT, _LAST_PORT = 12_000, 32_000
_CHANCE = random.SystemRandom()
"""Not the one that Hypothesis gives a fixed seed: processes beside each other would ask for the same ports."""
_given: set[int] = set()
"""Ports that this process has handed out."""
_GRACE_SECONDS = 30.0
"""Kubernetes' own: programs serve on for some seconds after SIGTERM, and a busy machine adds to that."""
_PR_SET_PDEATHSIG = 1
"""From linux/prctl.h."""
_PRCTL = ctypes.CDLL(None).prctl if sys.platform == "linux" else None


class StartFailed(Exception):
    """A child process ended or stayed silent before it was ready; the message has the end of its output."""


class ChildProcess:
    """One child process; leaving its context ends it."""

    def __init__(
        self,
        command: Sequence[str],
        log: Path,
        *,
        environment: Mapping[str, str] | None = None,
        stop_signal: signal.Signals = signal.SIGTERM,
    ) -> None:
        """Start it; it does not outlive this process, however that ends.

        Args:
            command: program and arguments.
            log: file that gets its standard output and standard error, appended.
            environment: variables added to this process's own.
            stop_signal: how it is asked to end.
        """
        self.command = list(command)
        self.log = log
        self._stop_signal = stop_signal
        # Between the two nobody would end it.
        with signals_wait():
            with log.open("ab") as output:
                self._process = subprocess.Popen(
                    self.command,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    env={**os.environ, **(environment or {})},
                    # Its own process group: Ctrl-C reaches the parent alone, which then ends it in order.
                    start_new_session=True,
                )
            watch_over(self._process.pid)

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        """The exit code, None while it runs, negative for a signal."""
        return self._process.poll()

    def wait_until(self, ready: Callable[[], bool], seconds: float, what: str, every: float = 0.005) -> None:
        """Wait until the process is ready.

        Raises:
            StartFailed: it ended, or was not ready in time.
        """
        deadline = time.monotonic() + seconds
        while not ready():
            if self.exit_code is not None:
                raise StartFailed(f"{what} ended with exit code {self.exit_code}:\n{self.output()[-2000:]}")
            if time.monotonic() > deadline:
                raise StartFailed(f"{what} was not ready after {seconds:g} s:\n{self.output()[-2000:]}")
            time.sleep(every)

    def output(self) -> str:
        """All that the process has printed."""
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def send(self, number: signal.Signals) -> None:
        """Send a signal, if the process still runs."""
        if self.exit_code is None:
            self._process.send_signal(number)

    def wait(self, seconds: float) -> int | None:
        """Wait for the end; return the exit code, None where it still runs."""
        try:
            return self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            return None

    def kill(self) -> None:
        """End it at once."""
        self.send(signal.SIGCONT)
        self.send(signal.SIGKILL)
        self._process.wait()

    def stop(self, grace_seconds: float = _GRACE_SECONDS) -> int:
        """Ask it to end, and kill it after the grace period; return the exit code."""
        self.send(self._stop_signal)
        self.send(signal.SIGCONT)
        code = self.wait(grace_seconds)
        if code is None:
            self.kill()
            code = self._process.wait()
        return code

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


@contextmanager
def signals_wait() -> Iterator[None]:
    """Let SIGINT and SIGTERM come after what is done in here, and not in the middle of it.

    Blocking them would do the same, but a child process inherits that; a handler it does not.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # they come to the main thread alone
        return
    came: list[int] = []
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    waiting = {number: handler for number, handler in before.items() if handler not in (None, signal.SIG_IGN)}
    for number in waiting:
        signal.signal(number, lambda number, _: came.append(number))
    try:
        yield
    finally:
        for number, handler in waiting.items():
            signal.signal(number, handler)
        for one in came:
            known = before[signal.Signals(one)]
            if callable(known):
                known(one, None)  # raised again, an event loop would hear of it twice
            else:
                signal.raise_signal(one)


_guards: dict[int, subprocess.Popen[str]] = {}
"""The guard of this process, by its id: a forked one needs one of its own."""
_guards_lock = threading.Lock()


def watch_over(pid: int) -> None:
    """Have a child process, which leads a session of its own, ended when this process is gone."""
    with _guards_lock:
        known = _guards.get(os.getpid())
        if known is None or known.poll() is not None:
            program = [sys.executable, "-I", "-S", guard.__file__]
            known = _guards[os.getpid()] = subprocess.Popen(
                program, stdin=subprocess.PIPE, text=True, start_new_session=True
            )
        assert known.stdin is not None
        known.stdin.write(f"{pid} {guard.started_at(pid)}\n")
        known.stdin.flush()


def die_with_parent() -> None:
    """Have the kernel kill this process when the thread that started it is gone; does nothing but on Linux."""
    if _PRCTL is not None:
        _PRCTL(_PR_SET_PDEATHSIG, signal.SIGKILL)


def heed_interrupts() -> None:
    """Let a child process take SIGINT for what it is, as ``preexec_fn``.

    A shell has its background jobs ignore SIGINT, and their children inherit that: with a test run in the background,
    no program under test could be interrupted.
    """
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def free_port() -> int:
    """Return a TCP port of loopback that nothing listens on now.

    From below the range that the system gives outgoing connections (32768 and up on Linux, 49152 and up on macOS): one
    of those could take it before its server does. And never the same one twice.
    """
    while True:
        port = _CHANCE.randrange(_FIRST_PORT, _LAST_PORT)
        if port in _given:
            continue
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        _given.add(port)
        return port
