"""An API server of a test's own: one that may be killed, slowed and cut off."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from hack.cluster import programs
from hack.cluster.component import Components
from hack.cluster.control_plane import ControlPlane
from hack.cluster.e2e import CLUSTER_VARIABLE


class ApiServer:
    """A running API server with its etcd."""

    def __init__(self, control_plane: ControlPlane, components: Components) -> None:
        self.control_plane = control_plane
        self.components = components

    def restart(self) -> None:
        """Kill the API server and start it again, with what etcd has."""
        self.kill()
        self.start()

    def kill(self) -> None:
        """Kill the API server."""
        self.components.kill("kube-apiserver")

    def start(self) -> None:
        """Start it again after `kill`."""
        [name] = self.components.restart_crashed()
        self.components.wait(name)


@contextmanager
def running(folder: Path) -> Iterator[ApiServer]:
    """Run etcd and an API server while the context is open."""
    if os.environ.get(CLUSTER_VARIABLE) == "current":
        pytest.skip("a cluster of another kind has no API server that a test may kill")
    built = programs.ensure((programs.ETCD, programs.KUBERNETES))
    components = Components(folder)
    try:
        control_plane = ControlPlane(folder, built, services="10.0.0.0/24")
        control_plane.start_api_server(components)
        yield ApiServer(control_plane, components)
    finally:
        components.stop()


@pytest.fixture
def api_server(tmp_path: Path) -> Iterator[ApiServer]:
    """An API server for one test."""
    with running(tmp_path) as server:
        yield server
