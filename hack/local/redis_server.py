"""A real Redis (or Valkey) on a free port of loopback, its files under one folder; also as Sentinel and Cluster."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from hack.local.process import ChildProcess, StartFailed, free_port
from hack.local.redis_binary import RedisBinary, newest

_START_SECONDS = 20.0
_START_TRIES = 5


class RedisServer:
    """One server; it can be killed and started again on the same port, with its data where it is persistent.

    Args:
        folder: gets the server's files; made where it is missing.
        binary: the server program, `newest` where None.
        persistent: every write is in the append-only file before its answer.
        options: further options, as on the command line.
        sentinel: run as a Sentinel, with ``sentinel.conf`` in the folder.
        port: the port; a free one where None.
    """

    def __init__(
        self,
        folder: Path,
        *,
        binary: RedisBinary | None = None,
        persistent: bool = False,
        options: Sequence[str] = (),
        sentinel: bool = False,
        port: int | None = None,
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.binary = binary or newest()
        self._fixed_port = port
        self.port = port or free_port()
        self._options = list(options)
        self._sentinel = sentinel
        if persistent:
            self._options += ["--appendonly", "yes", "--appendfsync", "always"]
        self.process: ChildProcess | None = None

    @property
    def url(self) -> str:
        """The URL of database 0."""
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> Self:
        """Start the server and wait until it answers.

        Raises:
            StartFailed: it did not come up.
        """
        for attempt in range(_START_TRIES):
            self.process = ChildProcess(self._command(), self.folder / "server.log")
            try:
                self.process.wait_until(self._answers, _START_SECONDS, f"{self.binary} on port {self.port}")
            except StartFailed:
                self.process.kill()
                # Another process may have taken the port between our look and the start.
                if self._fixed_port is not None or attempt == _START_TRIES - 1:
                    raise
                self.port = free_port()
            else:
                self._fixed_port = self.port
                return self
        raise AssertionError("unreachable")

    def kill(self) -> None:
        """End the server at once, as a crash does."""
        if self.process is not None:
            self.process.kill()
            self.process = None

    def stop(self) -> None:
        """End the server."""
        if self.process is not None:
            self.process.stop()
            self.process = None

    def command(self, *words: str, timeout: float = 5.0) -> bytes:
        """Send one command over a connection of its own and return the raw reply (RESP)."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=timeout) as connection:
            encoded = [word.encode() for word in words]
            connection.sendall(
                b"*%d\r\n" % len(encoded) + b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in encoded)
            )
            return connection.recv(65536)

    def _answers(self) -> bool:
        try:
            return self.command("PING", timeout=1.0).startswith((b"+PONG", b"-NOAUTH"))
        except OSError:
            return False

    def _command(self) -> list[str]:
        command = [str(self.binary.path)]
        if self._sentinel:
            command += [str(self.folder / "sentinel.conf"), "--sentinel"]
        command += ["--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self.folder)]
        if not self._sentinel:
            command += ["--save", "", "--dbfilename", "dump.rdb"]
        return [*command, *self._options]

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
