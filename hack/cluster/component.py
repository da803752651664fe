"""Long-running programs of a cluster: started one after the other, started again when they crash, ended in reverse."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from hack.local.process import ChildProcess

_START_SECONDS = 120.0
"""Generous: a loaded machine starts an API server in 20 s."""
_POLL_SECONDS = 0.05


@dataclass(frozen=True, slots=True)
class Component:
    """One program and how to tell that it is ready."""

    name: str
    command: Sequence[str]
    ready: Callable[[], bool]
    environment: Mapping[str, str] = field(default_factory=dict)
    grace_seconds: float = 10.0


@dataclass(slots=True)
class Components:
    """The running programs."""

    folder: Path
    """Gets a log for each."""
    _running: dict[str, tuple[Component, ChildProcess]] = field(default_factory=dict)

    @property
    def pids(self) -> dict[str, int]:
        """Process ids by name."""
        return {name: process.pid for name, (_, process) in self._running.items()}

    def start(self, component: Component) -> None:
        """Start a program and wait until it is ready.

        Raises:
            StartFailed: it ended or did not become ready.
        """
        self.launch(component)
        self.wait(component.name)

    def launch(self, component: Component) -> None:
        """Start a program without waiting for it."""
        log, environment = self.log(component.name), component.environment
        process = ChildProcess(component.command, log, environment=environment)
        self._running[component.name] = (component, process)

    def wait(self, name: str) -> None:
        """Wait until a program is ready.

        Raises:
            StartFailed: it ended or did not become ready.
        """
        component, process = self._running[name]
        process.wait_until(component.ready, _START_SECONDS, component.name, every=_POLL_SECONDS)

    def kill(self, name: str) -> None:
        """End a program at once, as a crash does."""
        self._running[name][1].kill()

    def restart_crashed(self) -> list[str]:
        """Start again whatever has ended by itself, and return the names."""
        crashed = [
            (component, process) for component, process in self._running.values() if process.exit_code is not None
        ]
        for component, process in crashed:
            print(f"{component.name} ended with {process.exit_code}, starting it again", file=sys.stderr, flush=True)
            self.launch(component)
        return [component.name for component, _ in crashed]

    def stop(self) -> None:
        """End all, the last one started first."""
        while self._running:
            name = list(self._running)[-1]
            component, process = self._running[name]
            process.stop(component.grace_seconds)
            del self._running[name]

    def log(self, name: str) -> Path:
        """Return the log file of a program."""
        return self.folder / f"{name}.log"
