"""A port of this machine that leads to a Service in the cluster, through kubectl."""

from __future__ import annotations

import asyncio
import re
import signal
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from ark_cli.errors import CliError
from ark_cli.kubectl import Kubectl, send

_SECONDS = 15.0
_END_SECONDS = 3.0
_FORWARDING = re.compile(rb"Forwarding from 127\.0\.0\.1:(\d+)")


@asynccontextmanager
async def forwarded(kubectl: Kubectl, namespace: str, service: str, port: int) -> AsyncIterator[int]:
    """Yield a local port, of 127.0.0.1, that leads to a port of a Service, as long as the context lasts.

    Raises:
        CliError: kubectl cannot forward, with its own words.
    """
    command = kubectl.command(
        *("port-forward", "-n", namespace, f"service/{service}", f":{port}", "--address=127.0.0.1"), seconds=None
    )
    try:
        process = await asyncio.create_subprocess_exec(*command, stdin=DEVNULL, stdout=PIPE, stderr=PIPE)
    except OSError as error:
        raise CliError(f"kubectl cannot be started: {error}") from error
    assert process.stdout is not None
    assert process.stderr is not None
    readers: list[asyncio.Task[None]] = []
    try:
        local = await _listening(process.stdout)
        if local is None:
            await _end(process)
            said = (await process.stderr.read()).decode(errors="replace").strip() or f"nothing within {_SECONDS:g} s"
            raise CliError(f"kubectl port-forward to service {namespace}/{service} failed: {said}")
        # Each connection prints a line: a pipe that nobody reads would fill up in the end.
        readers = [asyncio.create_task(_read(stream)) for stream in (process.stdout, process.stderr)]
        yield local
    finally:
        await _end(process)
        await asyncio.gather(*readers)


async def _listening(output: asyncio.StreamReader) -> int | None:
    """Return the port once it is there; None where kubectl ends instead, or says nothing for too long."""
    try:
        async with asyncio.timeout(_SECONDS):
            match = _FORWARDING.search(await output.readline())
    except TimeoutError:
        return None
    return None if match is None else int(match[1])


async def _read(stream: asyncio.StreamReader) -> None:
    while await stream.read(4096):
        pass


async def _end(process: asyncio.subprocess.Process) -> None:
    if process.returncode is not None:
        return
    send(process, signal.SIGTERM)
    try:
        async with asyncio.timeout(_END_SECONDS):
            await process.wait()
    except TimeoutError:
        send(process, signal.SIGKILL)
        await process.wait()
