"""Probes against real servers, and their thresholds."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web

from hack.cluster.node.probes import Probe
from hack.local.process import free_port
from tests.eventually import eventually
from tests.hack.cluster.pods import container

IP = "127.0.0.1"


async def never(_: list[str]) -> int:
    raise AssertionError("no command is to be run")


def probe(handler: dict[str, Any], **fields: Any) -> Probe:
    spec = container(readinessProbe={**handler, **fields}, ports=[{"name": "http", "containerPort": 1}])
    made = Probe.of(spec, "readinessProbe")
    assert made is not None
    return made


@asynccontextmanager
async def server(status: int) -> AsyncIterator[int]:
    async def answer(_: web.Request) -> web.Response:
        return web.Response(status=status)

    application = web.Application()
    application.add_routes([web.get("/readyz", answer)])
    runner = web.AppRunner(application)
    await runner.setup()
    await web.TCPSite(runner, IP, 0).start()
    try:
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


@pytest.mark.parametrize(("status", "good"), [(200, True), (302, True), (404, False), (503, False)])
async def test_http_is_good_from_200_to_399(status: int, good: bool) -> None:
    async with server(status) as port:
        assert await probe({"httpGet": {"path": "/readyz", "port": port}}).check(IP, never) is good


async def test_a_port_may_have_a_name_and_one_that_nobody_listens_on_is_a_failure() -> None:
    made = probe({"tcpSocket": {"port": "http"}})
    assert made.ports == {"http": 1}
    assert not await made.check(IP, never)
    assert not await probe({"httpGet": {"port": free_port()}}).check(IP, never)
    async with server(200) as port:
        assert await probe({"tcpSocket": {"port": port}}).check(IP, never)


@pytest.mark.parametrize(("code", "good"), [(0, True), (1, False)])
async def test_a_command_is_good_when_it_ends_with_zero(code: int, good: bool) -> None:
    async def execute(command: list[str]) -> int:
        assert command == ["is-it-up"]
        return code

    assert await probe({"exec": {"command": ["is-it-up"]}}).check(IP, execute) is good


async def test_a_command_that_takes_too_long_is_a_failure() -> None:
    async def hang(_: list[str]) -> int:
        await asyncio.Event().wait()
        return 0

    assert not await probe({"exec": {"command": ["x"]}}, timeoutSeconds=0.01).check(IP, hang)


async def test_a_change_is_told_once_and_only_after_its_threshold() -> None:
    answers: Iterator[int] = iter([1, 1, 0, 1, 1, 0, 0, 1, 1, 1, 1, 0])
    told: list[bool] = []

    async def execute(_: list[str]) -> int:
        return next(answers, 0)

    made = probe({"exec": {"command": ["x"]}}, periodSeconds=0.001, successThreshold=2, failureThreshold=3)
    following = asyncio.create_task(made.follow(IP, execute, told.append))
    await eventually(lambda: len(told) == 3, "three changes")
    following.cancel()
    await asyncio.gather(following, return_exceptions=True)
    assert told == [True, False, True]
