"""What a running process cluster says about itself, in a file that its users read."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

_FILE = "state.json"


@dataclass(frozen=True, slots=True)
class State:
    """A cluster that is ready."""

    kubeconfig: Path
    """The administrator's."""
    kubectl: Path
    """A kubectl of the server's version."""
    logs: Path
    """Folder with a log for each program."""
    pids: Mapping[str, int]
    """Process ids by program; one that was started again has a new id."""
    restarted: Sequence[str] = ()
    """Programs that crashed and were started again, one after the other."""

    def write(self, folder: Path) -> None:
        """Write the file into the cluster's folder, as a whole."""
        content = {
            "kubeconfig": str(self.kubeconfig),
            "kubectl": str(self.kubectl),
            "logs": str(self.logs),
            "pids": dict(self.pids),
            "restarted": list(self.restarted),
        }
        new = folder / f"{_FILE}.new"
        new.write_text(json.dumps(content))
        new.rename(folder / _FILE)

    @classmethod
    def read(cls, folder: Path) -> Self | None:
        """Read the file; None while the cluster is not ready."""
        try:
            content = json.loads((folder / _FILE).read_text())
        except FileNotFoundError:
            return None
        kubeconfig, kubectl, logs = (Path(content[name]) for name in ("kubeconfig", "kubectl", "logs"))
        return cls(kubeconfig, kubectl, logs, content["pids"], tuple(content["restarted"]))
