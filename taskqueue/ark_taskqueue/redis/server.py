"""What kind of server a Redis is."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from redis.asyncio.cluster import RedisCluster
from redis.exceptions import ResponseError

from ark_taskqueue.redis.client import Client
from ark_taskqueue.redis.translation import translated

_Ask = Callable[..., Awaitable[Any]]


@dataclass(frozen=True, slots=True)
class ServerFacts:
    """What matters to a queue. Valkey says which Redis it is like, and counts as that."""

    version: tuple[int, ...]
    eviction: str
    """maxmemory-policy; empty where the server does not say."""
    keeps: bool
    """Whether it writes to disk what it has, by AOF or snapshots; true where it does not say."""
    milliseconds: float
    """One question's way there and back."""


async def read_server(client: Client) -> ServerFacts:
    """Ask a server, of a Cluster any one, what it is.

    Raises:
        RedisUnavailable, RedisRefused: it does not answer, or with an error.
    """
    with translated("ask Redis what it is"):
        if isinstance(client, RedisCluster):
            await client.initialize()
        ask: _Ask = (
            client.get_random_node().execute_command if isinstance(client, RedisCluster) else client.execute_command
        )
        await ask("PING")  # opens the connection
        before = time.perf_counter()
        await ask("PING")
        took = time.perf_counter() - before
        reply = await ask("INFO")
        snapshots = await _snapshots(ask)
    found = reply if isinstance(reply, dict) else _parsed(reply)
    version = tuple(int(part) for part in str(found["redis_version"]).split(".") if part.isdecimal())
    keeps = bool(int(found.get("aof_enabled", 1) or 0)) or snapshots
    return ServerFacts(version, str(found.get("maxmemory_policy", "")), keeps, took * 1000)


async def _snapshots(ask: _Ask) -> bool:
    """Return whether there are points at which a snapshot is made; true where the server does not tell this user."""
    try:
        reply = await ask("CONFIG", "GET", "save")
    except ResponseError:
        return True
    said = list(reply.values()) if isinstance(reply, dict) else list(reply[1::2])
    return any(said)


def _parsed(reply: bytes | str) -> dict[str, str]:
    lines = (reply.decode() if isinstance(reply, bytes) else reply).splitlines()
    return dict(line.split(":", 1) for line in lines if ":" in line)
