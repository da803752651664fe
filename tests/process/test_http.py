"""The HTTP endpoint of a program, and what strangers can do to it: nothing that keeps a probe from its answer."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import aiohttp
import pytest
from prometheus_client import CollectorRegistry, Gauge

from ark_process import http
from ark_process.metrics_access import MetricsAccess, Refusal


async def _nothing() -> None:
    return


@asynccontextmanager
async def serving(
    registry: CollectorRegistry | None = None,
    before: Callable[[], object] = _nothing,
    host: str = "127.0.0.1",
    access: MetricsAccess | None = None,
) -> AsyncIterator[int]:
    registry = registry or CollectorRegistry()
    async with http.serve(host, 0, registry, lambda: None, before, access=access) as port:  # type: ignore[arg-type]
        yield port


async def get(port: int, path: str, host: str = "127.0.0.1") -> tuple[int, str]:
    async with aiohttp.ClientSession() as session, session.get(f"http://{host}:{port}{path}") as response:
        return response.status, await response.text()


async def closed_by_the_server(sock: socket.socket) -> bool:
    try:
        return await asyncio.wait_for(asyncio.get_running_loop().sock_recv(sock, 1), 20) == b""
    except OSError:
        return True


async def silent(port: int) -> socket.socket:
    sock = socket.socket()
    sock.setblocking(False)
    await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", port))
    return sock


@pytest.mark.parametrize("sent", [b"", b"GET /healthz HTT", b"GET /healthz HTTP/1.1\r\nHost: x\r\n"])
async def test_a_connection_without_a_whole_request_is_closed(monkeypatch: pytest.MonkeyPatch, sent: bytes) -> None:
    monkeypatch.setattr(http, "_REQUEST_SECONDS", 0.3)
    async with serving() as port:
        with await silent(port) as sock:
            await asyncio.get_running_loop().sock_sendall(sock, sent)
            assert await closed_by_the_server(sock)


async def test_silent_connections_do_not_keep_a_probe_from_its_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "_MOST_CONNECTIONS", 20)
    async with serving() as port:
        silent_ones = [await silent(port) for _ in range(60)]
        assert await get(port, "/healthz") == (200, "ok\n")
        closed = [await asyncio.wait_for(closed_by_the_server(sock), 10) for sock in silent_ones[:30]]
        assert all(closed), "the oldest silent ones go first"
        for sock in silent_ones:
            sock.close()


async def test_a_connection_that_has_asked_is_kept_for_the_next_request(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "_REQUEST_SECONDS", 0.2)
    async with serving() as port, aiohttp.ClientSession() as session:
        for _ in range(2):
            async with session.get(f"http://127.0.0.1:{port}/healthz") as response:
                assert response.status == 200
                await response.read()
            await asyncio.sleep(0.4)
        assert len(session.connector._conns) == 1  # type: ignore[union-attr]


async def test_scrapes_at_the_same_time_share_one_rendering_that_is_as_fresh_as_their_own() -> None:
    registry, refreshed = CollectorRegistry(), 0
    value = Gauge("value", "A value", registry=registry)

    async def before() -> None:
        nonlocal refreshed
        refreshed += 1
        value.set(refreshed)
        await asyncio.sleep(0.1)

    async with serving(registry, before) as port:
        answers = await asyncio.gather(*(get(port, "/metrics") for _ in range(50)))
        assert refreshed <= 3, "each scrape read everything anew"
        assert {status for status, _ in answers} == {200}
        known = refreshed
        _, late = await get(port, "/metrics")
        assert f"value {known + 1}.0" in late, "a later scrape got an earlier one's values"


async def test_a_scrape_that_fails_is_no_answer_for_those_who_wait_beside_it() -> None:
    registry, begun, go_on = CollectorRegistry(), 0, asyncio.Event()
    value = Gauge("value", "A value", registry=registry)

    async def before() -> None:
        nonlocal begun
        begun += 1
        if begun == 1:
            await go_on.wait()
        if begun == 2:
            raise ValueError("the second reading fails")
        value.set(begun)

    async with serving(registry, before) as port, asyncio.TaskGroup() as group:
        scrapes = [group.create_task(get(port, "/metrics")) for _ in range(3)]
        await asyncio.sleep(0.2)  # as a rule all three wait now; whoever comes later gets the same answer
        go_on.set()
    answers = sorted(scrape.result() for scrape in scrapes)
    assert [status for status, _ in answers] == [200, 200, 500]
    assert sum("value 3.0" in text for _, text in answers) == 1, "values from before the call were shown"


async def test_without_an_address_both_families_are_listened_on() -> None:
    async with serving(host="") as port:
        assert await get(port, "/healthz") == (200, "ok\n")
        if socket.has_dualstack_ipv6():
            assert await get(port, "/healthz", "[::1]") == (200, "ok\n")


async def test_an_address_that_is_taken_is_said() -> None:
    async with serving() as port:
        with pytest.raises(http.PortInUse, match=f"cannot listen on 127.0.0.1:{port}"):
            async with http.serve("127.0.0.1", port, CollectorRegistry(), lambda: None, _nothing):
                pass


async def test_the_soft_limit_of_open_files_is_raised() -> None:
    import resource

    from ark_process.files import allow_as_many_as_possible

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(256, hard), hard))
        assert allow_as_many_as_possible() == min(hard, 1 << 20)
        assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] == min(hard, 1 << 20)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


async def test_whoever_does_not_take_the_metrics_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "_TAKE_SECONDS", 0.5)
    monkeypatch.setattr(http, "_MOST_UNTAKEN", 5)
    registry = CollectorRegistry()
    gauge = Gauge("large", "x" * 1000, ["name"], registry=registry)
    for number in range(30_000):
        gauge.labels(f"{number:0200}").set(number)

    loop, whole = asyncio.get_running_loop(), 30_000 * 1200

    async def rest(sock: socket.socket) -> int:
        """Read until the server has closed the connection."""
        size = 0
        with contextlib.suppress(OSError):
            while part := await loop.sock_recv(sock, 1 << 20):
                size += len(part)
        return size

    async with serving(registry) as port:
        with contextlib.ExitStack() as opened:
            stuck = [opened.enter_context(await silent(port)) for _ in range(12)]
            for sock in stuck:
                await loop.sock_sendall(sock, b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
            async with asyncio.timeout(60):
                for sock in stuck:
                    assert await loop.sock_recv(sock, 1), "the answer has begun"
                await asyncio.sleep(1.5)  # the server's timers are of this very event loop
                sizes = [await rest(sock) for sock in stuck]
        assert all(size < whole for size in sizes), "nobody has got all of it"
        assert (await get(port, "/metrics"))[0] == 200


async def test_who_may_see_the_metrics_is_asked_with_the_callers_token_and_address() -> None:
    asked = list[tuple[str | None, str]]()

    class Asked(MetricsAccess):
        async def refusal(self, authorization: str | None, caller: str) -> Refusal | None:
            asked.append((authorization, caller))
            return Refusal(403, "not you")

    async with serving(access=Asked("https://127.0.0.1:1", None)) as port, aiohttp.ClientSession() as session:
        headers = {"Authorization": "Bearer x"}
        async with session.get(f"http://127.0.0.1:{port}/metrics", headers=headers) as response:
            assert (response.status, await response.text()) == (403, "not you\n")
    assert asked == [("Bearer x", "127.0.0.1")]
