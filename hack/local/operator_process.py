"""The operator as its own process, with its HTTP server on a free port of loopback."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping
from pathlib import Path

from hack.local.process import ChildProcess

_START_SECONDS = 60.0
_LISTENING = re.compile(r'\{[^\n]*"operator is listening"[^\n]*\}')


class OperatorProcess(ChildProcess):
    """``ark-operator`` with the given settings; ready when its HTTP server listens.

    Args:
        folder: gets the log.
        settings: flags without their dashes.
        name: of the log, and of the replica.

    Raises:
        StartFailed: it does not listen in time.
    """

    def __init__(self, folder: Path, settings: Mapping[str, str], name: str = "operator") -> None:
        values = {"image": "ark:bench", "host": "127.0.0.1", "http-port": "0", "identity": name, **settings}
        flags = [f"--{flag}={value}" for flag, value in values.items()]
        folder.mkdir(parents=True, exist_ok=True)
        log = folder / f"{name}.log"
        log.unlink(missing_ok=True)
        super().__init__([sys.executable, "-m", "ark_operator", *flags], log)
        try:
            self.wait_until(lambda: _LISTENING.search(self.output()) is not None, _START_SECONDS, "ark-operator")
        except BaseException:
            self.kill()
            raise
        match = _LISTENING.search(self.output())
        listening = json.loads(match[0]) if match else {}
        self.http_port: int = listening["http_port"]

    @property
    def leads(self) -> bool:
        """Whether it has said that it leads."""
        return '"event": "leading"' in self.output()
