"""Startup, readiness and liveness probes."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Self

import aiohttp

Execute = Callable[[list[str]], Awaitable[int]]
"""Runs a command in the container's environment and answers its exit code."""


@dataclass(frozen=True, slots=True)
class Probe:
    """One probe; times in seconds, defaults are Kubernetes'."""

    handler: dict[str, Any]
    ports: dict[str, int]
    """The container's named ports."""
    initial_delay: float = 0
    period: float = 10
    timeout: float = 1
    success_threshold: int = 1
    failure_threshold: int = 3

    @classmethod
    def of(cls, container: dict[str, Any], name: str) -> Self | None:
        """Return a probe of a container, None where it has none of the name (``readinessProbe`` ...)."""
        spec = container.get(name)
        if spec is None:
            return None
        return cls(
            handler={key: spec[key] for key in ("httpGet", "tcpSocket", "exec") if key in spec},
            ports={port["name"]: port["containerPort"] for port in container.get("ports", []) if "name" in port},
            initial_delay=spec.get("initialDelaySeconds") or 0,
            period=spec.get("periodSeconds") or 10,
            timeout=spec.get("timeoutSeconds") or 1,
            success_threshold=spec.get("successThreshold") or 1,
            failure_threshold=spec.get("failureThreshold") or 3,
        )

    async def check(self, ip: str, execute: Execute) -> bool:
        """Probe once; anything but a success within the time is a failure."""
        try:
            async with asyncio.timeout(self.timeout):
                if "exec" in self.handler:
                    return await execute(self.handler["exec"]["command"]) == 0
                if "httpGet" in self.handler:
                    return await self._http(ip, self.handler["httpGet"])
                return await self._tcp(ip, self.handler["tcpSocket"])
        except (TimeoutError, OSError, ValueError, aiohttp.ClientError):
            return False  # ValueError: the port's name is none of the container's

    async def follow(self, ip: str, execute: Execute, tell: Callable[[bool], None]) -> None:
        """Probe for ever and tell each change, by the thresholds; begins as not successful."""
        await asyncio.sleep(self.initial_delay)
        last: bool | None = None
        run = 0
        told: bool | None = None
        while True:
            good = await self.check(ip, execute)
            run = run + 1 if good == last else 1
            last = good
            if good != told and run >= (self.success_threshold if good else self.failure_threshold):
                told = good
                tell(good)
            await asyncio.sleep(self.period)

    async def _http(self, ip: str, get: dict[str, Any]) -> bool:
        scheme = get.get("scheme", "HTTP").lower()
        url = f"{scheme}://{get.get('host') or ip}:{self._port(get['port'])}{get.get('path', '/')}"
        headers = {header["name"]: header["value"] for header in get.get("httpHeaders", [])}
        async with (
            aiohttp.ClientSession() as session,
            session.get(url, ssl=False, allow_redirects=False, headers=headers) as response,
        ):
            return 200 <= response.status < 400

    async def _tcp(self, ip: str, socket: dict[str, Any]) -> bool:
        _, writer = await asyncio.open_connection(socket.get("host") or ip, self._port(socket["port"]))
        writer.close()
        return True

    def _port(self, port: int | str) -> int:
        return self.ports[port] if isinstance(port, str) and port in self.ports else int(port)
