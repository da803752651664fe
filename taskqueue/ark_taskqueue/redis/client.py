"""Clients of Redis or Valkey, made from one URL.

Nothing here is retried: a command that had no answer may have been carried out, so only the caller knows whether to
repeat it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, TypeAlias, cast

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.cluster import ClusterNode, RedisCluster
from redis.asyncio.connection import AbstractConnection
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel, SentinelConnectionPool
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError, ResponseError

from ark_taskqueue.redis.address import Address, parse_address

Client: TypeAlias = "Redis | RedisCluster"

_UNLIMITED_CONNECTIONS = 100_000


def connect(url: str | Address, *, timeout: float = 5.0, max_connections: int = 16, name: str = "ark") -> Client:
    """Return a client for a Redis URL; connections are opened when they are needed.

    Args:
        url: one of the forms above, or its parsed form.
        timeout: the most that one connection attempt or one answer may take, seconds.
        max_connections: connections to one server at a time; further callers wait for a free one, up to `timeout`.
            With Sentinels and Cluster there is no waiting, and so as many as there are callers.
        name: shown by Redis' CLIENT LIST, where it may be set; not in a Cluster.

    Raises:
        InvalidAddress: the URL is malformed.
    """
    address = parse_address(url) if isinstance(url, str) else url
    common: dict[str, Any] = {
        "socket_timeout": timeout,
        "socket_connect_timeout": timeout,
        "protocol": 2,  # the same replies from every server since 6.2
        "retry": Retry(NoBackoff(), 0),
    }
    if address.kind == "cluster":
        login = {key: value for key, value in address.login.items() if key not in ("connection_class", "db")}
        return RedisCluster(
            startup_nodes=[ClusterNode(host, port) for host, port in address.hosts],
            client_name=None,  # where CLIENT is not permitted, a name would keep every connection from being made
            ssl=address.tls,
            max_connections=_UNLIMITED_CONNECTIONS,
            **common,
            **login,
        )
    if address.kind == "sentinel":
        tls = {"ssl": address.tls}
        login = {key: value for key, value in address.login.items() if key != "connection_class"}
        sentinel = Sentinel(
            list(address.hosts),
            sentinel_kwargs={**common, **tls, **address.sentinel_login},
            **{
                **common,
                **tls,
                **login,
                "max_connections": _UNLIMITED_CONNECTIONS,
                "redis_connect_func": _begin(name, primary=True),
            },
        )
        return cast("Redis", sentinel.master_for(address.service or "", redis_class=_SentinelsRedis))
    place: dict[str, Any] = dict(zip(("host", "port"), address.hosts[0], strict=True)) if address.hosts else {}
    pool = BlockingConnectionPool(
        max_connections=max_connections,
        timeout=timeout,
        **{**common, **address.login, **place, "redis_connect_func": _begin(name)},
    )
    return Redis.from_pool(pool)


class _SentinelsRedis(Redis):
    """A client of Sentinels' primary that closes its connections to the Sentinels too."""

    async def aclose(self, close_connection_pool: bool | None = None) -> None:
        pool = cast("SentinelConnectionPool", self.connection_pool)
        await super().aclose(close_connection_pool)
        for sentinel in pool.sentinel_manager.sentinels:
            await sentinel.aclose()


def _begin(name: str, *, primary: bool = False) -> Callable[[AbstractConnection], Awaitable[None]]:
    """Return what begins a connection: it logs in, and names the connection."""

    async def begin(connection: AbstractConnection) -> None:
        await connection.on_connect()
        if primary:
            await _check_primary(connection)
        await connection.send_command("CLIENT", "SETNAME", name)
        # Only for whoever looks at the server: some have no CLIENT, or permit it to nobody.
        with suppress(ResponseError):
            await connection.read_response()

    return begin


async def _check_primary(connection: AbstractConnection) -> None:
    """See to it that this is the primary: a Sentinel that lags behind may name the one that was."""
    await connection.send_command("ROLE")
    role = (await connection.read_response())[0]
    if role not in (b"master", "master"):
        raise ConnectionError(f"{connection!r} is no primary but {role!r}: a failover is under way")
