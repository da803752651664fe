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

_START_SECONDS = 300.0
_STOP_SECONDS = 150.0
"""More than the grace periods of all its programs, one after the other."""
_ROOT = Path(__file__).resolve().parents[2]


class CannotStart(Exception):
    """The cluster did not come up; the message says why."""


class ProcessCluster:
    """Kubernetes and KEDA as processes; leaving its context ends them all, and so does the end of this process.

    Args:
        folder: gets all files.
        hpa_sync_seconds: time between two decisions of the autoscaler; real clusters have 15 s.
        images: folder with the archives of images, for a real node with containers, in a sandbox only; Pods are
            processes where None.
    """

    def __init__(self, folder: Path, *, hpa_sync_seconds: float = 15.0, images: Path | None = None) -> None:
        self.folder = folder
        self._images = images
        self._hpa_sync_seconds = hpa_sync_seconds
        self._supervisor: subprocess.Popen[bytes] | None = None
        self._stopped = False

    def start(self) -> Self:
        """Start it and wait until all of it is ready; builds the programs first where they are missing.

        Raises:
            CannotBuild: the programs cannot be built.
            CannotStart: a program did not come up.
        """
        if sys.platform != "linux":
            raise CannotStart("the process cluster needs Linux (every Pod has an address of its own); use CLUSTER=kind")
        programs.ensure(programs.FAMILIES if self._images is None else programs.NODE_FAMILIES)
        try:
            self._start()
        except BaseException:  # a Ctrl-C above all
            self.stop()
            raise
        return self

    def _start(self) -> None:
        if self._stopped:
            raise CannotStart("the cluster was stopped before it was started")
        self.folder.mkdir(parents=True, exist_ok=True)
        errors = self.folder / "supervisor.log"
        command = [sys.executable, "-m", "hack.cluster.supervisor", f"--folder={self.folder}"]
        if self._images is not None:
            command.append(f"--images={self._images}")
        with errors.open("ab") as log:
            supervisor = self._supervisor = subprocess.Popen(
                [*command, f"--hpa-sync-seconds={self._hpa_sync_seconds}"],
                cwd=_ROOT,
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C reaches this process alone, which then ends it in order
            )
        deadline = time.monotonic() + _START_SECONDS
        while State.read(self.folder) is None:
            code = supervisor.poll()
            if code is not None or self._stopped or time.monotonic() > deadline:
                happened = "is not ready" if code is None else f"ended with {code}"
                raise CannotStart(f"the cluster {happened}: {errors.read_text(errors='replace')[-3000:]}")
            time.sleep(0.05)

    def stop(self) -> None:
        """End all of its processes; a start that another thread is in fails."""
        self._stopped = True
        supervisor, self._supervisor = self._supervisor, None
        if supervisor is None:
            return
        assert supervisor.stdin is not None
        supervisor.stdin.close()
        try:
            supervisor.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            supervisor.kill()  # its children die with it
            supervisor.wait()

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
        """Return what runs kubectl with all rights."""
        return Kubectl(self.state.kubectl, self.state.kubeconfig)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
