"""An API server of a test's own: one that may be killed, slowed and cut off."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from hack.cluster import programs
from hack.cluster.component import Components
from hack.cluster.control_plane import ControlPlane
from tests.cluster.conftest import not_ours
from tests.cluster.operator.operating import World, install, world


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
    if not_ours():
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


@pytest.fixture(scope="module")
def control_plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """An API server with the definitions, for all tests of a module."""
    with running(tmp_path_factory.mktemp("api")) as server:
        install(server.control_plane)
        yield server.control_plane


@pytest.fixture
async def here(control_plane: ControlPlane) -> AsyncIterator[World]:
    """A namespace of a test's own."""
    async with world(control_plane) as made:
        yield made
