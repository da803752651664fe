"""The scaler as its own process, on free ports of loopback."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping
from pathlib import Path

from hack.local.process import ChildProcess

_START_SECONDS = 30.0
_PORTS = re.compile(r'\{[^\n]*"scaler is listening"[^\n]*\}')


class ScalerProcess(ChildProcess):
    """``ark-scaler`` with the given settings; ready when it listens.

    Args:
        folder: gets the log.
        settings: flags without their dashes, for example ``{"redis": "redis://..."}``; None
            for a flag without a value.

    Raises:
        StartFailed: it does not listen in time.
    """

    def __init__(self, folder: Path, settings: Mapping[str, str | None]) -> None:
        values: dict[str, str | None] = {"host": "127.0.0.1", "port": "0", "http-port": "0", **settings}
        flags = [f"--{name}" if value is None else f"--{name}={value}" for name, value in values.items()]
        folder.mkdir(parents=True, exist_ok=True)
        log = folder / "scaler.log"
        log.unlink(missing_ok=True)
        super().__init__([sys.executable, "-m", "ark_scaler", *flags], log)
        try:
            self.wait_until(lambda: _PORTS.search(self.output()) is not None, _START_SECONDS, "ark-scaler")
        except BaseException:
            self.kill()
            raise
        match = _PORTS.search(self.output())
        listening = json.loads(match[0]) if match else {}
        self.grpc_port: int = listening["grpc_port"]
        self.http_port: int = listening["http_port"]
