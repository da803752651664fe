"""The cluster that the end-to-end tests share, and a stack of its own for each test."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from hack.cluster.access import Access, current, local
from hack.cluster.e2e import CLUSTER_VARIABLE
from hack.cluster.process_cluster import ProcessCluster
from hack.cluster.state import State
from tests.cluster.stack import Stack, deployed


def not_ours() -> bool:
    """Return whether the tests have one cluster that all of them share, and can have no other."""
    return os.environ.get(CLUSTER_VARIABLE) in ("current", "node")


@pytest.fixture(scope="session")
def access(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Access]:
    """The cluster that ``make e2e`` has started, else a process cluster of this test process's own."""
    named = os.environ.get(CLUSTER_VARIABLE)
    if named in ("current", "node"):
        yield current(near=named == "node")
    elif named:
        state = State.read(Path(named))
        assert state is not None, f"no cluster runs in {named}"
        yield local(state)
    else:
        with ProcessCluster(tmp_path_factory.mktemp("cluster")) as cluster:
            yield local(cluster.state)


@pytest.fixture
async def stack(access: Access) -> AsyncIterator[Stack]:
    """A namespace with a Redis and a scaler."""
    async with deployed(access) as stack:
        yield stack


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Access]:
    """A cluster to install the chart on: one of a module's own with nothing but KEDA, or the real node."""
    named = os.environ.get(CLUSTER_VARIABLE)
    if named == "node":
        yield current(near=True)
        return
    if named == "current":
        pytest.skip("the chart's definitions would take the place of the cluster's own")
    with ProcessCluster(tmp_path_factory.mktemp("bare")) as made:
        yield local(made.state)
