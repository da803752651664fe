"""The URL of a Redis or Valkey: whether it is one server, Sentinels or a Cluster, TLS, and who logs in.

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
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias
from urllib.parse import SplitResult, parse_qs, urlsplit

from redis.asyncio.connection import SSLConnection, parse_url

from ark_taskqueue.errors import InvalidAddress

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
_DEFAULT_PORTS: dict[Kind, int] = {"standalone": 6379, "sentinel": 26379, "cluster": 6379}

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
        raise InvalidAddress(f"Redis URL has {given}; allowed: {', '.join(_SCHEMES)}")
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
            raise InvalidAddress(f"Redis URL has the unknown option {name!r}; allowed for {base}://: {shown}")
    if query.get("ssl_cert_reqs", "required") not in _CERTIFICATE_CHECKS:
        allowed_checks = ", ".join(_CERTIFICATE_CHECKS)
        raise InvalidAddress(f"Redis URL has ssl_cert_reqs={query['ssl_cert_reqs']!r}; allowed: {allowed_checks}")
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
            raise InvalidAddress("Redis URL of a socket file has no path; write unix:///run/redis.sock")
        return None, path
    service = None
    if kind == "sentinel":
        service, _, path = path.partition("/")
        if not service:
            raise InvalidAddress("Redis URL of Sentinels names no service; write redis+sentinel://host:26379/mymaster")
    path = path.rstrip("/")
    if path and (kind == "cluster" or not (path.isascii() and path.isdecimal())):
        only = "no database" if kind == "cluster" else "a database number"
        raise InvalidAddress(f"Redis URL has an invalid path: a {kind} URL takes {only} there")
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
            raise InvalidAddress(f"Redis URL has no host; write redis://host:6379/0, and {_ENCODE}")
        hosts.append((host, port or _DEFAULT_PORTS[kind]))
    if kind == "standalone" and len(hosts) != 1:
        raise InvalidAddress("Redis URL names several hosts; use redis+sentinel:// or redis+cluster:// for them")
    return tuple(hosts)
