"""Redis as Sentinels and as Cluster know it, on loopback."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from hack.local.process import free_port
from hack.local.redis_server import RedisServer

_READY_SECONDS = 30.0
_SLOTS = 16384


class NotReady(Exception):
    """The servers did not find each other in time."""


@dataclass(slots=True)
class SentinelSetup:
    """A primary, its replica, and a Sentinel that watches both."""

    primary: RedisServer
    replica: RedisServer
    sentinel: RedisServer
    service: str = "mymaster"

    @property
    def url(self) -> str:
        """The URL that finds the primary, whichever it is."""
        return f"redis+sentinel://127.0.0.1:{self.sentinel.port}/{self.service}"

    def fail_over(self) -> None:
        """Have the Sentinel make the replica the primary, both servers alive; wait until it is."""
        # Refused until the Sentinel has heard enough of the replica.
        _wait(lambda: b"+OK" in self.sentinel.command("SENTINEL", "FAILOVER", self.service), "the failover's start")
        _wait(lambda: b"role:master" in self.replica.command("INFO", "replication"), "the replica's promotion")
        _wait(lambda: b"role:slave" in self.primary.command("INFO", "replication"), "the primary's demotion")


@contextmanager
def sentinel_setup(folder: Path) -> Iterator[SentinelSetup]:
    """Run a primary, a replica and a Sentinel."""
    with ExitStack() as stack:
        primary = stack.enter_context(RedisServer(folder / "primary"))
        replica = stack.enter_context(
            RedisServer(folder / "replica", options=["--replicaof", "127.0.0.1", str(primary.port)])
        )
        _wait(lambda: b"master_link_status:up" in replica.command("INFO", "replication"), "replication")
        sentinel = RedisServer(folder / "sentinel", sentinel=True)
        (folder / "sentinel" / "sentinel.conf").write_text(
            f"sentinel monitor mymaster 127.0.0.1 {primary.port} 1\n"
            "sentinel down-after-milliseconds mymaster 500\n"
            "sentinel failover-timeout mymaster 3000\n"
        )
        stack.enter_context(sentinel)
        _wait(lambda: b"slaves=1" in sentinel.command("INFO", "sentinel"), "the Sentinel's look at the replica")
        yield SentinelSetup(primary, replica, sentinel)


@contextmanager
def cluster_setup(folder: Path, nodes: int = 3, options: Sequence[str] = ()) -> Iterator[list[RedisServer]]:
    """Run a Redis Cluster of primaries that share the slots."""
    with ExitStack() as stack:
        servers = []
        for number in range(nodes):
            own = ["--cluster-enabled", "yes", "--cluster-node-timeout", "2000", "--cluster-port", str(free_port())]
            servers.append(stack.enter_context(RedisServer(folder / f"node-{number}", options=[*own, *options])))
        for number, server in enumerate(servers):
            first, last = number * _SLOTS // nodes, (number + 1) * _SLOTS // nodes - 1
            server.command("CLUSTER", "ADDSLOTSRANGE", str(first), str(last))
            bus = server.command("CONFIG", "GET", "cluster-port").split(b"\r\n")[-2].decode()
            servers[0].command("CLUSTER", "MEET", "127.0.0.1", str(server.port), bus)
        _wait(lambda: all(_sees_all(server, nodes) for server in servers), "the cluster")
        yield servers


def _sees_all(server: RedisServer, nodes: int) -> bool:
    info = server.command("CLUSTER", "INFO")
    return b"cluster_state:ok" in info and f"cluster_known_nodes:{nodes}".encode() in info


def _wait(done: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + _READY_SECONDS
    while not _holds(done):
        if time.monotonic() > deadline:
            raise NotReady(f"{what} was not there after {_READY_SECONDS:g} s")
        time.sleep(0.05)


def _holds(done: Callable[[], bool]) -> bool:
    try:
        return done()
    except OSError:
        return False  # a server that changes its role ends its connections
