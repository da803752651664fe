"""The way to an agent's Redis: a URL that the user gives, else the agent's own, by a port-forward where it needs one.

An agent's own is what its Deployment gives the agents as AGENT_REDIS, in the open or from a Secret of its namespace.
Whoever may read those has all that it takes; nothing of this needs a right in Ark's own namespace, but for the
port-forward.
"""

from __future__ import annotations

import base64
import os
import re
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType

from ark_cli.agents import Agent
from ark_cli.errors import CliError, NotThere
from ark_cli.kubectl import Kubectl, Object
from ark_cli.port_forward import forwarded
from ark_taskqueue import Address, Client, InvalidAddress, connect, parse_address

_VARIABLE = "AGENT_REDIS"
_CONTAINER = "agent"
_TIMEOUT_SECONDS = 5.0
_LABEL = r"[a-z0-9](?:[-a-z0-9]*[a-z0-9])?"
_SERVICE = re.compile(rf"(?P<service>{_LABEL})(?:\.(?P<namespace>{_LABEL})(?:\.svc(?:\.[-a-z0-9.]+)?)?)?\.?")
_MANAGED = "app.kubernetes.io/managed-by%3Dark-operator"
_MANY = 3
_OTHERWISE = "give a URL that works from here with --redis-url or ARK_REDIS_URL"


class RedisAccess:
    """Clients for agents' Redis, one for each URL; ends them, and their port-forwards, with its context.

    Args:
        kubectl: the way to Kubernetes.
        url: of Redis, for all agents; None to find it out.
    """

    def __init__(self, kubectl: Kubectl, url: str | None) -> None:
        self._kubectl = kubectl
        self._url = url
        self._deployments: dict[tuple[str, str], Object | None] = {}
        """None for one that was not there at the last look at many."""
        self._values: dict[tuple[str, Reference], str | None] = {}
        self._clients: dict[tuple[str, str], Client | CliError] = {}
        """By URL and the namespace that short names in it are of; an error is not asked for again."""
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> RedisAccess:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.__aexit__(kind, error, trace)

    async def look_up(self, agents: Sequence[Agent]) -> None:
        """Read the Deployments of many agents at once, instead of one by one; for what `client` is asked next.

        Raises:
            CliError: they cannot be listed.
        """
        wanted = [_deployment(agent) for agent in agents]
        wanted = [key for key in wanted if self._deployments.get(key) is None]
        if self._url is not None or len(wanted) < _MANY:
            return
        spaces = {namespace for namespace, _ in wanted}
        place = f"/namespaces/{spaces.pop()}" if len(spaces) == 1 else ""
        try:
            listed = await self._kubectl.get(f"/apis/apps/v1{place}/deployments?labelSelector={_MANAGED}")
        except CliError as error:
            raise CliError(f"cannot find Redis: cannot list the agents' Deployments: {error}; {_OTHERWISE}") from error
        found = {(one["metadata"]["namespace"], one["metadata"]["name"]): one for one in listed["items"]}
        self._deployments |= {key: found.get(key) for key in wanted}

    async def client(self, agent: Agent) -> Client:
        """Return a client for the Redis with an agent's queue.

        Raises:
            CliError: it cannot be found out, or not be reached, and what to do then.
        """
        url = self._url if self._url is not None else await self._url_of(agent)
        try:
            address = parse_address(url)
        except InvalidAddress as error:
            raise CliError(f"{error}; {_OTHERWISE}") from error
        key = (url, agent.namespace if _is_short(address) else "")
        if key not in self._clients:
            self._clients[key] = await self._connected(address, agent.namespace)
        found = self._clients[key]
        if isinstance(found, CliError):
            raise found
        return found

    async def _connected(self, address: Address, namespace: str) -> Client | CliError:
        try:
            if self._url is None:
                _check_files(address)
                address = await self._stack.enter_async_context(self._reachable(address, namespace))
        except CliError as error:
            return error
        client = connect(address, timeout=_TIMEOUT_SECONDS, name="kubectl-ark")
        self._stack.push_async_callback(client.aclose)
        return client

    @asynccontextmanager
    async def _reachable(self, address: Address, namespace: str) -> AsyncIterator[Address]:
        """Yield an address that leads from here to where another one leads from a Pod."""
        service = await self._service(address, namespace)
        if service is None:
            yield address
            return
        if address.kind != "standalone":
            raise CliError(f"a {address.kind} at {address} cannot be reached by a port-forward: {_OTHERWISE}")
        async with forwarded(self._kubectl, *service, address.hosts[0][1]) as port:
            login = {**address.login, "ssl_check_hostname": False} if address.tls else address.login
            # The certificate is of the Service's name; that it is the Service, the API server has seen to.
            yield replace(address, hosts=(("127.0.0.1", port),), login=login)

    async def _service(self, address: Address, namespace: str) -> tuple[str, str] | None:
        """Return namespace and name of the Service that an address names; None where it names something else."""
        match = _SERVICE.fullmatch(address.hosts[0][0]) if address.hosts else None
        if match is None or "KUBERNETES_SERVICE_HOST" in os.environ:
            return None
        found = (match["namespace"] or namespace, match["service"])
        try:
            await self._kubectl.get(f"/api/v1/namespaces/{found[0]}/services/{found[1]}")
        except NotThere:
            return None
        except CliError as error:
            raise CliError(f"cannot reach Redis at {address}: {error}; {_OTHERWISE}") from error
        return found

    async def _url_of(self, agent: Agent) -> str:
        """Return the URL that an agent's Pods have."""
        key = _deployment(agent)
        if key not in self._deployments:
            path = f"/apis/apps/v1/namespaces/{key[0]}/deployments/{key[1]}"
            try:
                self._deployments[key] = await self._kubectl.get(path)
            except CliError as error:
                raise CliError(f"cannot find Redis: cannot read Deployment {key[1]}: {error}; {_OTHERWISE}") from error
        deployment = self._deployments[key]
        if deployment is None:
            raise CliError(f"cannot find Redis: Deployment {'/'.join(key)} does not exist; {_OTHERWISE}")
        for source in sources(deployment):
            found = source if isinstance(source, str) else await self._value(agent.namespace, source)
            if found is not None:
                return found
        raise CliError(f"cannot find Redis: Deployment {'/'.join(key)} has no usable {_VARIABLE}; {_OTHERWISE}")

    async def _value(self, namespace: str, source: Reference) -> str | None:
        """Return a key of a Secret or ConfigMap; None where it is not there."""
        if (namespace, source) not in self._values:
            self._values[namespace, source] = await self._read(namespace, source)
        return self._values[namespace, source]

    async def _read(self, namespace: str, source: Reference) -> str | None:
        kind = "Secret" if source.secret else "ConfigMap"
        try:
            item = await self._kubectl.get(f"/api/v1/namespaces/{namespace}/{kind.lower()}s/{source.name}")
        except NotThere:
            return None
        except CliError as error:
            raise CliError(
                f"cannot find Redis: cannot read {kind} {namespace}/{source.name}: {error}; {_OTHERWISE}"
            ) from error
        value: str | None = (item.get("data") or {}).get(source.key)
        return base64.b64decode(value).decode() if source.secret and value is not None else value


@dataclass(frozen=True, slots=True)
class Reference:
    """A key of a Secret or ConfigMap."""

    secret: bool
    name: str
    key: str


def sources(deployment: Object) -> Iterator[str | Reference]:
    """Yield where the agents' container may have its AGENT_REDIS from, as a kubelet looks for it.

    The last one comes first, and single variables before whole Secrets.
    """
    containers = deployment["spec"]["template"]["spec"]["containers"]
    container: Object = next((one for one in containers if one["name"] == _CONTAINER), {})
    for entry in reversed(container.get("env") or []):
        if entry["name"] == _VARIABLE and "value" in entry:
            yield str(entry["value"]).replace("$$", "$")
        elif entry["name"] == _VARIABLE:
            for kind, source in (entry.get("valueFrom") or {}).items():
                if kind in ("secretKeyRef", "configMapKeyRef"):
                    yield Reference(kind == "secretKeyRef", source["name"], source["key"])
    for entry in reversed(container.get("envFrom") or []):
        key = _VARIABLE.removeprefix(entry.get("prefix", ""))
        for kind in ("secretRef", "configMapRef"):
            if kind in entry and _VARIABLE.startswith(entry.get("prefix", "")):
                yield Reference(kind == "secretRef", entry[kind]["name"], key)


def _deployment(agent: Agent) -> tuple[str, str]:
    """Return namespace and name of an agent's Deployment."""
    return agent.namespace, f"{agent.name}-agent"


def _is_short(address: Address) -> bool:
    """Return whether an address leads elsewhere from another namespace: it is a Service's name without one."""
    match = _SERVICE.fullmatch(address.hosts[0][0]) if address.hosts else None
    return match is not None and match["namespace"] is None


def _check_files(address: Address) -> None:
    for option in ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile"):
        file = address.login.get(option)
        if file and not Path(file).exists():
            raise CliError(f"Redis at {address} wants {option}={file}, a file of the agents' Pods: {_OTHERWISE}")
