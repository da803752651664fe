"""Leader election on a real API server: never two leaders at once, and never none for long."""

from __future__ import annotations

import asyncio
import itertools
import re
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest

from ark_kube.client import Client, transport
from ark_kube.election import LEASES, Election, LostLease, Terms
from hack.local.proxy import Proxy
from tests.cluster.operator.conftest import ApiServer
from tests.eventually import eventually

TERMS = Terms(lease=3.0, renew_deadline=2.0, retry=0.4)
PATH = LEASES.path("default", "operator")


class Candidate:
    """One replica: notes when it leads."""

    def __init__(self, client: Client, identity: str, terms: Terms = TERMS) -> None:
        self.election = Election(client, "default", "operator", identity, terms)
        self.led: list[tuple[float, float | None]] = []

    async def work(self) -> None:
        """Lead until cancelled."""
        self.led.append((time.monotonic(), None))
        try:
            await asyncio.Event().wait()
        finally:
            self.led[-1] = (self.led[-1][0], time.monotonic())

    async def run(self) -> None:
        await self.election.lead(self.work)

    @property
    def leads(self) -> bool:
        return bool(self.led) and self.led[-1][1] is None


@asynccontextmanager
async def client_of(kubeconfig: Path) -> AsyncIterator[Client]:
    async with transport(kubeconfig) as official:
        yield Client(official, "test")


async def ended(task: asyncio.Task[None]) -> BaseException | None:
    task.cancel()
    await asyncio.wait([task], timeout=30)
    return None if task.cancelled() else task.exception()


def test_times_that_would_allow_two_leaders_are_refused() -> None:
    with pytest.raises(ValueError, match="must each be less than the next"):
        Terms(lease=10, renew_deadline=10, retry=1)


async def test_one_leads_and_when_it_ends_in_order_the_next_follows_at_once(api_server: ApiServer) -> None:
    async with client_of(api_server.control_plane.admin) as client:
        slow = Terms(lease=60.0, renew_deadline=40.0, retry=0.3)
        candidates = [Candidate(client, f"replica-{n}", slow) for n in range(3)]
        tasks = [asyncio.create_task(candidate.run()) for candidate in candidates]
        await eventually(lambda: any(candidate.leads for candidate in candidates), "a leader")
        await asyncio.sleep(1.0)
        [first] = [n for n, candidate in enumerate(candidates) if candidate.leads]
        lease = await client.get(PATH)
        assert lease["spec"]["holderIdentity"] == f"replica-{first}"
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", lease["spec"]["renewTime"])
        await ended(tasks[first])
        others = [candidate for n, candidate in enumerate(candidates) if n != first]
        await eventually(
            lambda: any(candidate.leads for candidate in others), "the next leader, long before the lease ends"
        )
        assert (await client.get(PATH))["spec"]["leaseTransitions"] >= 1
        for task in tasks:
            await ended(task)
        spans = sorted(span for candidate in candidates for span in candidate.led)
        assert all(earlier[1] is not None and earlier[1] <= later[0] for earlier, later in itertools.pairwise(spans))
        assert not (await client.get(PATH))["spec"].get("holderIdentity")


async def test_a_leader_that_vanished_is_replaced_after_its_lease(api_server: ApiServer) -> None:
    async with client_of(api_server.control_plane.admin) as client:
        await Election(client, "default", "operator", "vanished", TERMS)._acquire()
        began = time.monotonic()
        candidate = Candidate(client, "next")
        task = asyncio.create_task(candidate.run())
        await eventually(lambda: candidate.leads, "the next leader", 60)
        assert time.monotonic() - began >= TERMS.lease, "no clock but its own says when the lease is over"
        await ended(task)


async def test_a_leader_that_is_cut_off_stops_before_another_takes_over(api_server: ApiServer) -> None:
    """Its API server hangs: no error tells it, and nothing it writes would arrive."""
    control_plane = api_server.control_plane
    async with AsyncExitStack() as stack:
        proxy = await stack.enter_async_context(Proxy(control_plane.port))
        config = control_plane.kubeconfig_for("through", "system:masters", proxy.port)
        cut_off = Candidate(await stack.enter_async_context(client_of(config)), "cut-off")
        other = Candidate(await stack.enter_async_context(client_of(control_plane.admin)), "other")
        first = asyncio.create_task(cut_off.run())
        await eventually(lambda: cut_off.leads, "the first leader")
        second = asyncio.create_task(other.run())
        await asyncio.sleep(1.0)
        proxy.hang()
        await eventually(lambda: other.leads, "the other leader", 60)
        [(_, stopped)] = cut_off.led
        assert stopped is not None
        assert stopped < other.led[0][0]
        await asyncio.wait([first], timeout=30)
        assert isinstance(first.exception(), LostLease)
        await ended(second)


async def test_a_leader_survives_an_api_server_that_restarts_in_time(api_server: ApiServer) -> None:
    async with client_of(api_server.control_plane.admin) as client:
        candidate = Candidate(client, "steady", Terms(lease=90.0, renew_deadline=60.0, retry=0.5))
        task = asyncio.create_task(candidate.run())
        await eventually(lambda: candidate.leads, "the leader")
        await asyncio.to_thread(api_server.restart)
        before = (await client.get(PATH))["spec"]["renewTime"]

        async def renewed() -> bool:
            return bool((await client.get(PATH))["spec"]["renewTime"] != before)

        await eventually(renewed, "a renewal after the restart", 60, every=0.1)
        assert candidate.leads
        assert len(candidate.led) == 1
        await ended(task)


async def test_a_lease_that_another_took_ends_the_work(api_server: ApiServer) -> None:
    async with client_of(api_server.control_plane.admin) as client:
        candidate = Candidate(client, "robbed")
        task = asyncio.create_task(candidate.run())
        await eventually(lambda: candidate.leads, "the leader")
        await client.patch(PATH, {"spec": {"holderIdentity": "robber"}})
        await asyncio.wait([task], timeout=30)
        with pytest.raises(LostLease, match="another replica holds the lease"):
            task.result()
        assert not candidate.leads
        assert (await client.get(PATH))["spec"]["holderIdentity"] == "robber", "only one's own lease is released"


async def test_work_that_fails_releases_the_lease_and_is_not_hidden(api_server: ApiServer) -> None:
    async with client_of(api_server.control_plane.admin) as client:

        async def fail() -> None:
            raise RuntimeError("the work is broken")

        with pytest.raises(ExceptionGroup) as caught:
            await Election(client, "default", "operator", "failing", TERMS).lead(fail)
        assert caught.group_contains(RuntimeError, match="the work is broken")
        assert not (await client.get(PATH))["spec"].get("holderIdentity")
