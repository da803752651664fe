"""kubectl, as people use it: one process for each call."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_REQUEST_SECONDS = 30
_PROCESS_SECONDS = 60.0


class KubectlFailed(Exception):
    """A kubectl call failed; the message is kubectl's own."""


@dataclass(frozen=True, slots=True)
class Kubectl:
    """Runs kubectl against one cluster."""

    program: Path
    kubeconfig: Path

    def run(self, *arguments: str, stdin: str | None = None, seconds: float = _PROCESS_SECONDS) -> str:
        """Run one command and return what it printed.

        Args:
            arguments: the command line after the program's name.
            stdin: text for its standard input.
            seconds: the most that it may take.

        Raises:
            KubectlFailed: it ended with an error, or took too long.
        """
        try:
            ended = subprocess.run(
                self.command(*arguments), input=stdin, capture_output=True, text=True, timeout=seconds, check=False
            )
        except subprocess.TimeoutExpired as error:
            raise KubectlFailed(f"kubectl {' '.join(arguments)} took longer than {seconds:g} s") from error
        if ended.returncode != 0:
            raise KubectlFailed(f"kubectl {' '.join(arguments)}: {ended.stderr.strip()}")
        return ended.stdout

    def command(self, *arguments: str) -> list[str]:
        """Return the whole command line of a call."""
        return [
            str(self.program),
            f"--kubeconfig={self.kubeconfig}",
            f"--request-timeout={_REQUEST_SECONDS}s",
            *arguments,
        ]

    def get(self, *arguments: str) -> Any:
        """Return ``kubectl get`` as JSON."""
        return json.loads(self.run("get", *arguments, "-o", "json"))

    def apply(self, objects: Sequence[Mapping[str, Any]]) -> None:
        """Apply objects server-side, in their order."""
        manifest = {"apiVersion": "v1", "kind": "List", "items": list(objects)}
        self.run("apply", "--server-side", "-f", "-", stdin=json.dumps(manifest))
