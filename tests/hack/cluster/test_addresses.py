"""Clusters beside each other do not share addresses."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

import pytest

from hack.cluster.addresses import Block, NoAddresses, claimed


def test_each_cluster_claims_a_block_of_its_own_and_gives_it_back(tmp_path: Path) -> None:
    with claimed(tmp_path) as first:
        with claimed(tmp_path) as second:
            assert (first, second) == (Block(0), Block(1))
        with claimed(tmp_path) as third:
            assert third == Block(1)
    with ExitStack() as stack:
        blocks = {stack.enter_context(claimed(tmp_path)) for _ in range(32)}
        assert len(blocks) == 32
        with pytest.raises(NoAddresses, match="32 clusters run on this machine already"):
            stack.enter_context(claimed(tmp_path))


def test_blocks_lie_apart_in_loopback() -> None:
    pods = {Block(number).pod(pod).rsplit(".", 2)[0] for number in range(32) for pod in (1, 255, 256, 60_000)}
    services = {Block(number).services.removesuffix(".0.0/16") for number in range(32)}
    assert pods == {f"127.{number}" for number in range(64, 96)}
    assert services == {f"127.{number}" for number in range(96, 128)}
