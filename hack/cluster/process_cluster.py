"""The process cluster, seen from whoever uses it: started, described, ended."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from hack.cluster import programs
from hack.cluster.kubectl import Kubectl
from hack.cluster.state import State

_START_SECONDS = 180.0
_STOP_SECONDS = 60.0
_ROOT = Path(__file__).resolve().parents[2]


class CannotStart(Exception):
    """The cluster did not come up; the message says why."""


class ProcessCluster:
    """Kubernetes and KEDA as processes; leaving its context ends them all, and so does the end of this process."""

    def __init__(self, folder: Path, *, hpa_sync_seconds: float = 15.0) -> None:
        """
        Args:
            folder: gets all files.
            hpa_sync_seconds: time between two decisions of the autoscaler; real clusters have 15 s.
        """
        self.folder = folder
        self._hpa_sync_seconds = hpa_sync_seconds
        self._supervisor: subprocess.Popen[bytes] | None = None

    def start(self) -> Self:
        """Start it and wait until all of it is ready; builds the programs first where they are missing.

        Raises:
            CannotBuild: the programs cannot be built.
            CannotStart: a program did not come up.
        """
        if sys.platform != "linux":
            raise CannotStart("the process cluster needs Linux (every Pod has an address of its own); use CLUSTER=kind")
        programs.ensure()
        self.folder.mkdir(parents=True, exist_ok=True)
        errors = self.folder / "supervisor.log"
        command = [sys.executable, "-m", "hack.cluster.supervisor", f"--folder={self.folder}"]
        with errors.open("ab") as log:
            self._supervisor = subprocess.Popen(
                [*command, f"--hpa-sync-seconds={self._hpa_sync_seconds}"],
                cwd=_ROOT,
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C reaches this process alone, which then ends it in order
            )
        deadline = time.monotonic() + _START_SECONDS
        while State.read(self.folder) is None:
            code = self._supervisor.poll()
            if code is not None or time.monotonic() > deadline:
                self.stop()
                happened = "is not ready" if code is None else f"ended with {code}"
                raise CannotStart(f"the cluster {happened}: {errors.read_text(errors='replace')[-3000:]}")
            time.sleep(0.05)
        return self

    def stop(self) -> None:
        """End all of its processes."""
        if self._supervisor is None:
            return
        assert self._supervisor.stdin is not None
        self._supervisor.stdin.close()
        try:
            self._supervisor.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._supervisor.kill()
            self._supervisor.wait()
        self._supervisor = None

    @property
    def state(self) -> State:
        """What the running cluster says about itself.

        Raises:
            CannotStart: it is not ready.
        """
        state = State.read(self.folder)
        if state is None:
            raise CannotStart("the cluster was not started")
        return state

    @property
    def kubectl(self) -> Kubectl:
        """kubectl with all rights."""
        return Kubectl(self.state.kubectl, self.state.kubeconfig)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
