"""The Kubernetes API for asyncio: plain dicts in and out, a timeout on every call.

Transport, credentials and TLS are those of the official client; its models would drop fields that they do not know, and
parsing into them takes seven times as long (5,000 Deployments: 1.8 s against 0.25 s). No other module imports it.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import aiohttp
from kubernetes.aio import config
from kubernetes.aio.client import ApiClient, Configuration

from ark_kube.errors import MALFORMED_APPLY, ApiError, ApiUnavailable, NoApiServer
from ark_kube.objects import Object
from ark_kube.rate_limit import RateLimit

_CALL_SECONDS = 15.0
_WATCH_SECONDS = 280
_IDLE_SECONDS = 90.0
_LINGER_SECONDS = 0.1
_NOT_FOUND = 404
_TOO_MANY = 429
_SERVER_ERRORS = 500
_LONGEST_LINE = 64 * 2**20
"""Of a watch, bytes; far more than an object can have."""


PatchType = Literal["merge", "strategic", "json", "apply"]
_CONTENT_TYPES: Mapping[PatchType, str] = {
    "merge": "application/merge-patch+json",
    "strategic": "application/strategic-merge-patch+json",
    "json": "application/json-patch+json",
    "apply": "application/apply-patch+yaml",
}


@dataclass(frozen=True, slots=True)
class Event:
    """One line of a watch; the object of a bookmark has a resource version and nothing else."""

    type: Literal["ADDED", "MODIFIED", "DELETED", "BOOKMARK"]
    object: Object


class Client:
    """One API server.

    Every call raises `ApiError` where the server refuses it, and `ApiUnavailable` where it does not answer in time.

    Args:
        client: the official client, which brings transport and credentials.
        field_manager: the name that this program's fields have in server-side apply.
        limit: how many calls may be made; no bound where None. Watches count once, when they are opened.
        answered: called with the method and the status code of each call, ``<error>`` where there was no answer.
    """

    def __init__(
        self,
        client: ApiClient,
        field_manager: str,
        limit: RateLimit | None = None,
        answered: Callable[[str, str], None] | None = None,
    ) -> None:
        self._client = client
        self._field_manager = field_manager
        self._limit = limit
        self._answered = answered or _tell_nobody

    @property
    def field_manager(self) -> str:
        """The name that this program's fields have."""
        return self._field_manager

    async def get(self, path: str, **query: str) -> Object:
        """Read an object or a list."""
        return await self._call("GET", path, query)

    async def create(self, path: str, body: Mapping[str, Any]) -> Object:
        """Create an object under the path of its list, or of a subresource such as ``binding``."""
        query = {"fieldManager": self._field_manager, "fieldValidation": "Strict"}
        return await self._call("POST", path, query, body, "application/json")

    async def patch(self, path: str, body: Mapping[str, Any] | Sequence[Any], kind: PatchType = "merge") -> Object:
        """Change an object; ``apply`` makes it where it is not there, and takes fields from other managers."""
        query = {"fieldManager": self._field_manager}
        if kind == "apply":
            query["force"] = "true"
        return await self._call("PATCH", path, query, body, _CONTENT_TYPES[kind])

    async def delete(self, path: str, body: Mapping[str, Any] | None = None) -> Object | None:
        """Delete an object; one that is gone already is fine.

        Returns:
            The object where finalizers still hold it, else None.
        """
        try:
            answer = await self._call("DELETE", path, {}, body or {}, "application/json")
        except ApiError as error:
            if error.status != _NOT_FOUND:
                raise
            return None
        return answer if (answer.get("metadata") or {}).get("deletionTimestamp") else None

    async def scale(self, path: str, replicas: int) -> Object:
        """Set ``spec.replicas`` through the scale subresource of the object at a path; return the Scale."""
        return await self.patch(f"{path}/scale", {"spec": {"replicas": replicas}})

    async def changes(
        self,
        path: str,
        version: str,
        query: Mapping[str, str],
        *,
        watch_seconds: float = _WATCH_SECONDS,
        idle_seconds: float = _IDLE_SECONDS,
    ) -> AsyncGenerator[Event, None]:
        """Yield the changes after a resource version, bookmarks among them, until the server ends the watch.

        Args:
            path: of a list.
            version: the resource version that is known.
            query: selectors.
            watch_seconds: how long the server is asked to keep the watch open.
            idle_seconds: silence after which the connection counts as dead; bookmarks come about every minute.

        Raises:
            ApiError: the version is too old (410), or the watch is refused.
            ApiUnavailable: the connection broke, or stayed silent for too long.
        """
        wanted = {
            **query,
            "watch": "true",
            "allowWatchBookmarks": "true",
            "timeoutSeconds": str(round(watch_seconds)),
            "resourceVersion": version,
        }
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=_CALL_SECONDS, sock_read=idle_seconds)
        response = await self._send("GET", path, wanted, timeout=timeout)
        try:
            async for line in _lines(response):
                change = json.loads(line)
                if change["type"] == "ERROR":
                    status = change["object"]
                    raise _error(f"watch {path}", status.get("code", _SERVER_ERRORS), status.get("message", ""))
                yield Event(change["type"], change["object"])
        except (aiohttp.ClientError, TimeoutError, ValueError, LookupError) as error:
            raise ApiUnavailable(f"watch {path}: {error or type(error).__name__}") from error
        finally:
            _abort(response)

    async def _call(
        self,
        method: str,
        path: str,
        query: Mapping[str, str],
        body: Mapping[str, Any] | Sequence[Any] | None = None,
        content_type: str | None = None,
    ) -> Object:
        timeout = aiohttp.ClientTimeout(total=_CALL_SECONDS)
        response = await self._send(method, path, query, body, content_type, timeout)
        try:
            answer: Object = await response.json()
        except (aiohttp.ClientError, TimeoutError) as error:
            raise ApiUnavailable(f"{method} {path}: {error or type(error).__name__}") from error
        return answer

    async def _send(
        self,
        method: str,
        path: str,
        query: Mapping[str, str],
        body: Mapping[str, Any] | Sequence[Any] | None = None,
        content_type: str | None = None,
        timeout: aiohttp.ClientTimeout | None = None,  # noqa: ASYNC109 - handed on to the HTTP client
    ) -> aiohttp.ClientResponse:
        if self._limit is not None:
            await self._limit.wait()
        headers = {"Accept": "application/json", "Content-Type": content_type or "application/json"}
        request = await self._client.param_serialize(
            method,
            path,
            query_params=list(query.items()),
            header_params=headers,
            body=body,
            auth_settings=["BearerToken"],
        )
        try:
            answer = await self._client.call_api(*request, _request_timeout=timeout)
            response: aiohttp.ClientResponse = answer.response
            self._answered(method, str(response.status))
            if response.status >= 400:
                text = await response.text()
                raise _error(f"{method} {path}", response.status, _message(text))
        except (aiohttp.ClientError, TimeoutError) as error:
            self._answered(method, "<error>")
            raise ApiUnavailable(f"{method} {path}: {error or type(error).__name__}") from error
        return response


def _tell_nobody(method: str, code: str) -> None:
    """Ignore it."""


async def _lines(response: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
    """Yield the lines of an answer; those of the HTTP client may not have more than some megabytes."""
    rest = bytearray()
    async for chunk in response.content.iter_any():
        rest += chunk
        if b"\n" in chunk:
            *lines, tail = bytes(rest).split(b"\n")
            for line in lines:
                yield line
            rest = bytearray(tail)
        elif len(rest) > _LONGEST_LINE:
            raise ValueError(f"a line of more than {_LONGEST_LINE} bytes")


def _abort(response: aiohttp.ClientResponse) -> None:
    """End a connection at once: a polite end of TLS waits for the server, and would outlast the client's own end."""
    transport = response.connection.transport if response.connection is not None else None
    if transport is not None:
        transport.abort()
    response.close()


def _error(call: str, status: int, message: str) -> ApiError | ApiUnavailable:
    """Return the error for a status: too many requests and a server's own failures pass by themselves."""
    error = ApiError(call, status, message)
    passes = status == _TOO_MANY or (status >= _SERVER_ERRORS and MALFORMED_APPLY not in message)
    return ApiUnavailable(str(error)) if passes else error


def _message(text: str) -> str:
    """Return the message of a Status, or the whole text of anything else."""
    try:
        return str(json.loads(text)["message"])
    except (ValueError, KeyError, TypeError):
        return text[:500]


@asynccontextmanager
async def transport(kubeconfig: Path | None, context: str | None = None) -> AsyncIterator[ApiClient]:
    """Yield the official client for an API server, while the context is open.

    Args:
        kubeconfig: says which; None in a Pod, whose ServiceAccount says it. Its token is read again every minute.
        context: of the kubeconfig; its current one where None.

    Raises:
        NoApiServer: the kubeconfig, or the ServiceAccount's files, are missing or malformed.
    """
    configuration = Configuration()
    try:
        if kubeconfig is None:
            config.load_incluster_config(client_configuration=configuration)
        else:
            kubeconfig.read_bytes()  # noqa: ASYNC240 - as the next call; it takes a missing file for an empty one
            await config.load_kube_config(
                config_file=str(kubeconfig), context=context, client_configuration=configuration, persist_config=False
            )
    except (config.ConfigException, OSError, ValueError) as error:
        where = "no kubeconfig and no ServiceAccount token" if kubeconfig is None else f"kubeconfig {kubeconfig}"
        raise NoApiServer(f"{where}: {error}") from error
    # Python 3.13 refuses a CA without an authority key identifier, as many clusters have one; kubectl does not.
    configuration.disable_strict_ssl_verification = True
    configuration.connection_pool_maxsize = 0  # no bound: every watch keeps a connection
    try:
        async with ApiClient(configuration) as client:
            yield client
    finally:
        # What was closed last still has to leave the event loop (aiohttp, "Graceful shutdown").
        await asyncio.sleep(_LINGER_SECONDS)
