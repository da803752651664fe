"""Connections to Redis or Valkey: one URL says standalone, Sentinel or Cluster, TLS, and who logs in.

====================================================  =========================================================
``redis://[user[:password]@]host[:port][/database]``   one server
``unix://[user[:password]@]/path``                     one server, by a socket file
``redis+sentinel://[...@]host[:port],.../service[/database]``  the primary that the Sentinels know as *service*
``redis+cluster://[...@]host[:port],...``              Redis Cluster, by some of its nodes
``rediss://``, ``rediss+sentinel://``, ``rediss+cluster://``  the same with TLS
====================================================  =========================================================

Query options: ``ssl_ca_certs``, ``ssl_certfile``, ``ssl_keyfile`` (paths of PEM files), ``ssl_check_hostname``
(true, false), ``ssl_cert_reqs`` (required, optional, none), and for Sentinels ``sentinel_username``,
``sentinel_password``. Special characters in user and password are percent-encoded.

Nothing here is retried: a command that had no answer may have been carried out, so only the caller knows whether
to repeat it.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias, cast
from urllib.parse import SplitResult, parse_qs, urlsplit

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.cluster import ClusterNode, RedisCluster
from redis.asyncio.connection import AbstractConnection, SSLConnection, parse_url
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel, SentinelConnectionPool
from redis.backoff import NoBackoff
from redis.exceptions import (
    AskError,
    BusyLoadingError,
    ClusterError,
    ConnectionError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisClusterException,
    RedisError,
    ResponseError,
    TimeoutError,
    TryAgainError,
)

from ark_taskqueue.errors import InvalidAddress, RedisRefused, RedisUnavailable, TaskQueueError

Client: TypeAlias = "Redis | RedisCluster"
Kind: TypeAlias = Literal["standalone", "sentinel", "cluster"]

_SCHEMES: dict[str, tuple[str, Kind]] = {
    "redis": ("redis", "standalone"),
    "rediss": ("rediss", "standalone"),
    "unix": ("unix", "standalone"),
    "redis+sentinel": ("redis", "sentinel"),
    "rediss+sentinel": ("rediss", "sentinel"),
    "redis+cluster": ("redis", "cluster"),
    "rediss+cluster": ("rediss", "cluster"),
}
_TLS_OPTIONS = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile", "ssl_cert_reqs", "ssl_check_hostname")
_SENTINEL_OPTIONS = ("sentinel_username", "sentinel_password")
DEFAULT_CONNECTION = "default"
"""Name of the connection that is used where none is named."""
_CONNECTION_NAME = re.compile(r"[a-z0-9](?:[-a-z0-9]*[a-z0-9])?")
_UNLIMITED_CONNECTIONS = 100_000
_DEFAULT_PORTS: dict[Kind, int] = {"standalone": 6379, "sentinel": 26379, "cluster": 6379}

_PASSING = (
    ConnectionError,
    TimeoutError,
    BusyLoadingError,
    ReadOnlyError,  # the server was a primary and is not any more: the next connection finds the new one
    TryAgainError,
    AskError,
    ClusterError,
    RedisClusterException,
    OSError,
    EOFError,
)
_PASSING_CODES = ("UNBLOCKED", "BUSY ", "MISCONF", "NOREPLICAS", "OOM")
"""Codes of errors that pass, and that redis-py has no class of its own for: a primary was demoted under a blocked
read, a script runs too long, the disk or the memory is full, replicas are missing."""
_ENCODE = "special characters in user and password must be percent-encoded (/ as %2F, # as %23, ? as %3F, @ as %40)"
_CERTIFICATE_CHECKS = ("required", "optional", "none")


@dataclass(frozen=True, slots=True)
class Address:
    """A parsed Redis URL."""

    kind: Kind
    hosts: tuple[tuple[str, int], ...]
    """Host and port of the server, of the Sentinels, or of some Cluster nodes; empty for a socket file."""
    service: str | None
    """The Sentinels' name of the primary."""
    login: dict[str, Any] = field(repr=False)
    """User, password, database and TLS, as redis-py names them; the socket file's path too."""
    sentinel_login: dict[str, Any] = field(repr=False)
    """User, password and TLS of the Sentinels themselves."""

    @property
    def tls(self) -> bool:
        """Whether connections are encrypted."""
        return self.login.get("connection_class") is SSLConnection

    @property
    def has_password(self) -> bool:
        """Whether the URL has one, of Redis or of the Sentinels."""
        return bool(self.login.get("password") or self.sentinel_login.get("password"))

    def __str__(self) -> str:
        """Show the address without user and password, for logs and errors."""
        hosts = ",".join(f"[{host}]:{port}" if ":" in host else f"{host}:{port}" for host, port in self.hosts)
        scheme = next(s for s, (base, kind) in _SCHEMES.items() if (base == "rediss", kind) == (self.tls, self.kind))
        place = f"{scheme}://{hosts}" if hosts else f"unix://{self.login['path']}"
        return f"{place}/{self.service}" if self.service else place


def parse_address(url: str) -> Address:
    """Parse a Redis URL of one of the forms above.

    Raises:
        InvalidAddress: the URL is malformed; the message does not contain the password.
    """
    try:
        parts = urlsplit(url)
    except ValueError:
        raise InvalidAddress(f"Redis URL cannot be read: {_ENCODE}") from None
    if parts.scheme not in _SCHEMES:
        given = f"the scheme {parts.scheme!r}" if url.lower().startswith(f"{parts.scheme}://") else "no scheme"
        raise InvalidAddress(f"Redis URL has {given}; allowed are {', '.join(_SCHEMES)}")
    base, kind = _SCHEMES[parts.scheme]
    _check_encoding(parts, base)
    query = _query(parts.query, base, kind)
    userinfo, at, hostlist = parts.netloc.rpartition("@")
    hosts = () if base == "unix" else _hosts(hostlist, kind)
    service, path = _path(parts.path, base, kind)
    try:
        # Everything but the hosts: redis-py knows one host only.
        login = dict(parse_url(f"{base}://{userinfo}{at}{'' if base == 'unix' else 'host'}/{path}"))
    except ValueError:
        raise InvalidAddress(f"Redis URL has user info that cannot be read: {_ENCODE}") from None
    for name in ("host", "port"):
        login.pop(name, None)
    tls: dict[str, Any] = {name: query[name] for name in _TLS_OPTIONS if name in query}
    if "ssl_check_hostname" in tls:
        tls["ssl_check_hostname"] = tls["ssl_check_hostname"].lower() not in ("false", "no", "0")
    sentinel_login = {name.removeprefix("sentinel_"): query[name] for name in _SENTINEL_OPTIONS if name in query}
    return Address(kind, hosts, service, {**login, **tls}, {**sentinel_login, **tls})


def _check_encoding(parts: SplitResult, base: str) -> None:
    """Refuse what a character of a password that is not encoded makes of a URL, and repeat none of it.

    ``redis://:p/w@host`` has the host ``:p`` for any parser, and ``redis://:p#w@host`` a fragment.
    """
    at = "@" in parts.path and base != "unix"
    if parts.fragment or at or "@" in parts.query or (base == "unix" and parts.netloc.rpartition("@")[2]):
        raise InvalidAddress(f"Redis URL cannot be read: {_ENCODE}")


def parse_connections(text: str) -> dict[str, str]:
    """Parse ``URL`` or ``NAME=URL`` items, separated by spaces, into URLs by name.

    Raises:
        ValueError: an item is malformed; the message does not contain a password.
    """
    connections: dict[str, str] = {}
    for item in text.split():
        head, separator, rest = item.partition("=")
        # A URL alone may have a "=" in its query.
        name, url = (head, rest) if separator and "://" not in head else (DEFAULT_CONNECTION, item)
        if not _CONNECTION_NAME.fullmatch(name):
            # Not repeated: it may be the rest of a password with a space in it.
            raise ValueError("a connection's name, before '=', is not made of lower-case letters, digits and hyphens")
        if name in connections:
            raise ValueError(f"connection {name!r} is given twice")
        try:
            parse_address(url)
        except InvalidAddress as error:
            raise ValueError(f"connection {name!r}: {error}") from None
        connections[name] = url
    if not connections:
        raise ValueError("no Redis connection is given; one looks like redis://host:6379/0 or NAME=redis://host:6379/0")
    return connections


def _query(text: str, base: str, kind: Kind) -> dict[str, str]:
    """Parse the options, and refuse those that mean nothing for this kind of URL."""
    try:
        query = {name: values[-1] for name, values in parse_qs(text, strict_parsing=bool(text)).items()}
    except ValueError:
        raise InvalidAddress("Redis URL has a malformed query: write ?option=value&option=value") from None
    allowed = (*(_TLS_OPTIONS if base == "rediss" else ()), *(_SENTINEL_OPTIONS if kind == "sentinel" else ()))
    for name in query:
        if name not in allowed:
            shown = ", ".join(allowed) or "none"
            raise InvalidAddress(f"Redis URL has the unknown option {name!r}; allowed for {base}:// are {shown}")
    if query.get("ssl_cert_reqs", "required") not in _CERTIFICATE_CHECKS:
        allowed_checks = ", ".join(_CERTIFICATE_CHECKS)
        raise InvalidAddress(f"Redis URL has ssl_cert_reqs={query['ssl_cert_reqs']!r}; allowed are {allowed_checks}")
    for name in ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile"):
        if name in query:
            _check_readable(name, query[name])
    return query


def _check_readable(option: str, path: str) -> None:
    """Say at the start which file is missing; TLS itself says only that one is."""
    try:
        with open(path, "rb"):
            return
    except OSError as error:
        raise InvalidAddress(f"Redis URL has {option}={path!r}, which cannot be read: {error.strerror}") from None


def _path(path: str, base: str, kind: Kind) -> tuple[str | None, str]:
    """Split the path into the Sentinels' service and the database number, or the socket file's path."""
    path = path.lstrip("/")
    if base == "unix":
        if not path:
            raise InvalidAddress("Redis URL of a socket file has no path: unix:///run/redis.sock")
        return None, path
    service = None
    if kind == "sentinel":
        service, _, path = path.partition("/")
        if not service:
            raise InvalidAddress("Redis URL of Sentinels names no service: redis+sentinel://host:26379/mymaster")
    path = path.rstrip("/")
    if path and (kind == "cluster" or not (path.isascii() and path.isdecimal())):
        only = "no database" if kind == "cluster" else "a database number"
        raise InvalidAddress(f"Redis URL has a path that cannot be; a {kind} URL takes {only} there")
    return service, path


def _hosts(hostlist: str, kind: Kind) -> tuple[tuple[str, int], ...]:
    hosts = []
    for item in hostlist.split(","):
        try:
            parts = urlsplit(f"//{item}")
            host, port = parts.hostname, parts.port
        except ValueError:
            raise InvalidAddress(f"Redis URL has no host and port that can be read: {_ENCODE}") from None
        if not host:
            raise InvalidAddress(f"Redis URL has no host; it looks like redis://host:6379/0, and {_ENCODE}")
        hosts.append((host, port or _DEFAULT_PORTS[kind]))
    if kind == "standalone" and len(hosts) != 1:
        raise InvalidAddress("Redis URL names several hosts; use redis+sentinel:// or redis+cluster:// for them")
    return tuple(hosts)


def connect(url: str | Address, *, timeout: float = 5.0, max_connections: int = 16, name: str = "ark") -> Client:
    """Answer a client for a Redis URL; connections are opened when they are needed.

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


async def pipelined(client: Client, keys: Sequence[str | bytes], commands: Sequence[tuple[Any, ...]]) -> list[Any]:
    """Send commands together and answer their replies; an error takes the place of its command's reply.

    In a Cluster one pipeline goes to each node, all at the same time: a node that is down fails its own keys only.

    Args:
        client: see `connect`.
        keys: each command's key; with a Cluster it says which node is asked.
        commands: the commands.

    Raises:
        RedisError, OSError: nothing was answered; see `translated`.
    """
    with cancellable():
        if isinstance(client, Redis):
            return await _one_pipeline(client, commands)
        await client.initialize()
        replies: list[Any] = [None] * len(commands)
        by_node: dict[str, list[int]] = {}
        for position, key in enumerate(keys):
            try:
                node = client.get_node_from_key(_text(key))
            except RedisClusterException as error:  # nobody serves the key's slot now
                replies[position] = error
            else:
                by_node.setdefault(node.name if node else "", []).append(position)
        answered = await asyncio.gather(
            *(_one_pipeline(client, [commands[i] for i in positions]) for positions in by_node.values()),
            return_exceptions=True,
        )
        for positions, answer in zip(by_node.values(), answered, strict=True):
            if isinstance(answer, BaseException) and not isinstance(answer, Exception):
                raise answer
            for place, position in enumerate(positions):
                replies[position] = answer if isinstance(answer, BaseException) else answer[place]
        if replies and all(isinstance(reply, Exception) and not isinstance(reply, ResponseError) for reply in replies):
            raise replies[0]
        return replies


async def _one_pipeline(client: Client, commands: Sequence[tuple[Any, ...]]) -> list[Any]:
    pipeline = client.pipeline(transaction=False) if isinstance(client, Redis) else client.pipeline()
    for command in commands:
        pipeline.execute_command(*command)
    replies: list[Any] = await pipeline.execute(raise_on_error=False)
    return replies


def _text(key: str | bytes) -> str:
    return key.decode() if isinstance(key, bytes) else key


@contextmanager
def cancellable() -> Iterator[None]:
    """Raise a cancellation again that came while Redis was asked and that redis-py swallowed.

    It sends with `asyncio.wait_for`, which before Python 3.12 drops a cancellation that comes just when the sending is
    done (python/cpython#86296); a worker that is told to stop at that moment would go on for ever.
    """
    task = asyncio.current_task()
    before = _cancellations_delivered(task)
    try:
        yield
    except asyncio.CancelledError:
        raise
    except BaseException as error:
        if task and task.cancelling() > before:
            raise asyncio.CancelledError from error
        raise
    if task and task.cancelling() > before:
        raise asyncio.CancelledError


def _cancellations_delivered(task: asyncio.Task[Any] | None) -> int:
    """Answer how many cancellations a task has seen already.

    One that came while the task was running, as from a signal's handler, is delivered at its next wait, which may be
    the very one that swallows it; asyncio keeps that in an attribute of no official standing.
    """
    if task is None:
        return 0
    return task.cancelling() - bool(getattr(task, "_must_cancel", False))


@contextmanager
def translated(doing: str) -> Iterator[None]:
    """Turn redis-py's errors into this package's, with what was being done in the message."""
    try:
        with cancellable():
            yield
    except ResponseError as error:
        raise from_response(error, doing) from error
    except _PASSING as error:
        raise RedisUnavailable(f"cannot {doing}: {_explained(error)}") from error
    except RedisError as error:
        raise RedisRefused(f"cannot {doing}: {_explained(error)}") from error


def error_of(reply: Any, doing: str) -> TaskQueueError | None:
    """Answer this package's error where one stands in the place of a reply of `pipelined`; None for a reply."""
    if isinstance(reply, ResponseError):
        return from_response(reply, doing)
    if isinstance(reply, Exception):
        return RedisUnavailable(f"cannot {doing}: {_explained(reply)}")
    return None


def _explained(error: Exception) -> str:
    """Return what an error says, and what it means where it does not say that.

    Redis repeats the arguments of a command that it does not know, and those of AUTH are user and password.
    """
    said = str(error).partition(", with args beginning with")[0] or type(error).__name__
    if type(error) is ClusterError or isinstance(error, (AskError, TryAgainError)):
        return f"the Cluster does not settle on a node for the key, as while its slot is moved to another one ({said})"
    return said


def from_response(error: ResponseError, doing: str) -> RedisRefused | RedisUnavailable:
    """Answer this package's error for an error reply."""
    passing = isinstance(error, (*_PASSING, OutOfMemoryError)) or str(error).startswith(_PASSING_CODES)
    return (RedisUnavailable if passing else RedisRefused)(f"cannot {doing}: {_explained(error)}")
