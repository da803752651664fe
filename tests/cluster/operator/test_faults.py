"""What goes wrong around the operator, each with what a user sees."""

from __future__ import annotations

import asyncio
import itertools
import json
import re
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.error import HTTPError

import pytest

from ark_kube.election import LEASES
from ark_operator import reconciler
from ark_operator.cluster.kinds import ARK_AGENTS, DEPLOYMENTS
from ark_operator.decision.decide import decide
from ark_operator.decision.plan import Plan
from hack.cluster.api import ApiUnavailable, Object
from hack.local.operator_process import OperatorProcess
from hack.local.proxy import Proxy
from tests.cluster.operator.conftest import ApiServer
from tests.cluster.operator.operating import World, agent, install, install_keda, operating, settings_of, world
from tests.cluster.operator.scrape import page, samples
from tests.eventually import eventually

TERMS = {"lease-seconds": "10", "lease-renew-seconds": "7", "lease-retry-seconds": "0.5"}


@pytest.fixture
async def here(api_server: ApiServer) -> AsyncIterator[World]:
    """A namespace on an API server that the test may kill."""
    await asyncio.to_thread(install, api_server.control_plane)
    async with world(api_server.control_plane) as made:
        yield made


@asynccontextmanager
async def replica(
    here: World, folder: Path, name: str, kubeconfig: Path | None = None, *, drain_seconds: float = 3.0
) -> AsyncIterator[OperatorProcess]:
    """Run a replica as a process of its own."""
    config = settings_of(here, kubeconfig)
    flags = {
        "kubeconfig": str(config.kubeconfig),
        "namespace": here.namespace,
        "watch-namespace": here.namespace,
        "redis": config.redis.get_secret_value(),
        "drain-seconds": f"{drain_seconds:g}",
        **TERMS,
    }
    process = await asyncio.to_thread(OperatorProcess, folder, flags, name)
    try:
        yield process
    finally:
        await asyncio.to_thread(process.stop)


def logged(process: OperatorProcess, event: str) -> list[Object]:
    """Return the log lines of an event."""
    lines = (json.loads(line) for line in process.output().splitlines() if line.startswith("{"))
    return [line for line in lines if line["event"] == event]


async def leading(process: OperatorProcess) -> None:
    """Wait until a replica leads."""
    await eventually(lambda: process.leads, "the leader", 60)


async def made_deployments(here: World) -> float:
    """Return how many Deployments the API server has ever made."""
    text = await asyncio.to_thread(here.control_plane.kubectl.run, "get", "--raw", "/metrics")
    pattern = r'apiserver_request_total\{code="201".*resource="deployments".*verb="POST".*\} (\S+)'
    return sum(float(count) for count in re.findall(pattern, text))


async def test_a_leader_that_is_asked_to_stop_hands_over_at_once_and_serves_on(here: World, tmp_path: Path) -> None:
    async with replica(here, tmp_path, "one", drain_seconds=600) as one:
        await leading(one)

        async def ready() -> bool:
            try:
                return await page(one.http_port, "/readyz") == "ok\n"
            except HTTPError:
                return False

        await eventually(ready, "the leader ready", 60)
        async with replica(here, tmp_path, "two") as two:
            one.send(signal.SIGTERM)
            await eventually(lambda: two.leads, "the successor", 60)
            with pytest.raises(HTTPError) as refused:
                await page(one.http_port, "/readyz")
            assert refused.value.read() == b"the operator is stopping\n"
            assert "workqueue_depth" in await page(one.http_port, "/metrics")
            one.send(signal.SIGTERM)
            assert await asyncio.to_thread(one.wait, 60) == 0


async def test_a_leader_that_is_killed_in_the_middle_of_500_reconciles(here: World, tmp_path: Path) -> None:
    async with replica(here, tmp_path, "one") as one:
        await leading(one)
        async with replica(here, tmp_path, "two") as two:
            async with asyncio.TaskGroup() as group:
                numbers = iter(range(500))

                async def create() -> None:
                    for number in numbers:
                        await here.make(agent(f"a{number}", replicas=0))

                for _ in range(10):
                    group.create_task(create())

                async def some() -> bool:
                    return await made_deployments(here) >= 100

                await eventually(some, "the first Deployments", 60)
                writes = await samples(two.http_port, "rest_client_requests_total", method="POST|PATCH|DELETE")
                one.kill()
            assert writes == 0, "a standby writes nothing"
            await eventually(lambda: two.leads, "the successor", 60)

            async def all_there() -> bool:
                items = (await here.api.get(ARK_AGENTS.path(here.namespace)))["items"]
                return sum("conditions" in item.get("status", {}) for item in items) == 500

            await eventually(all_there, "every status", 90, every=0.5)
            deployments = (await here.api.get(DEPLOYMENTS.path(here.namespace)))["items"]
            assert len(deployments) == 500, "nothing is missed"
            # Those whose answer the killed leader did not live to see are not counted as made.
            assert 480 <= await made_deployments(here) <= 500, "nothing is done twice"
            assert all(item["metadata"]["generation"] == 1 for item in deployments)


async def test_a_leader_that_is_cut_off_ends_before_the_next_one_writes(here: World, tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        proxy = await stack.enter_async_context(Proxy(here.control_plane.port))
        direct = settings_of(here).kubeconfig
        assert direct is not None
        text = direct.read_text()
        through = tmp_path / "through.kubeconfig"
        through.write_text(text.replace(f":{here.control_plane.port}", f":{proxy.port}"))
        one = await stack.enter_async_context(replica(here, tmp_path, "one", through))
        await leading(one)
        two = await stack.enter_async_context(replica(here, tmp_path, "two", direct))
        await here.make(agent("before", replicas=1))
        await here.has("Ready", "Progressing", "before")
        proxy.hang()
        await eventually(lambda: two.leads, "the next leader", 60)
        await here.make(agent("after", replicas=1))
        await here.has("Ready", "Progressing", "after")
        assert await asyncio.to_thread(one.wait, 30) == 1
        [end] = logged(one, "operator ends")
        assert "the lease was not renewed" in end["errors"][0]
        assert end["time"] < logged(two, "leading")[0]["time"]


async def test_an_operator_that_is_told_to_end_hands_over_at_once(here: World, tmp_path: Path) -> None:
    for number in (signal.SIGTERM, signal.SIGINT):
        async with replica(here, tmp_path, f"one-{number.name}") as one:
            await leading(one)
            await here.make(agent(number.name.lower(), replicas=1))
            await here.has("Ready", "Progressing", number.name.lower())
            one.send(number)
            assert await asyncio.to_thread(one.wait, 30) == 0
            lease = await here.api.get(LEASES.path(here.namespace, "ark-operator"))
            assert not lease["spec"].get("holderIdentity")
            assert "Traceback" not in one.output()


async def test_an_api_server_that_restarts(here: World, api_server: ApiServer) -> None:
    async with operating(here):
        await here.make(agent(replicas=1))
        await here.replicas(1)
        await asyncio.to_thread(api_server.kill)
        with pytest.raises(ApiUnavailable):
            await here.agent()
        await asyncio.to_thread(api_server.start)
        await here.patch(replicas=4)
        await here.replicas(4, seconds=90)


async def test_an_api_server_that_hangs_and_comes_back(here: World, tmp_path: Path) -> None:
    async with Proxy(here.control_plane.port) as proxy:
        config = settings_of(here).kubeconfig
        assert config is not None
        through = tmp_path / "through.kubeconfig"
        through.write_text(config.read_text().replace(f":{here.control_plane.port}", f":{proxy.port}"))
        async with operating(here, kubeconfig=through, stuck_seconds=8.0) as (operator, _):
            await here.make(agent(replicas=1))
            await here.replicas(1)
            assert operator.not_alive() is None
            proxy.hang()
            await here.patch(replicas=4)
            await eventually(lambda: operator.readiness.lacks() is not None, "not ready")
            await eventually(lambda: operator.not_alive() is not None, "not alive")
            assert "the API server has said nothing about" in str(operator.not_alive())
            proxy.drop_connections()
            proxy.resume()
            await here.replicas(4, seconds=90)


async def test_a_second_writer_is_lived_with(here: World) -> None:
    async with operating(here):
        await here.make(agent(autoscaling={}))
        await here.mirror(0)
        stop = asyncio.Event()

        async def disturb() -> None:
            for number in itertools.count():
                if stop.is_set():
                    return
                note = {"metadata": {"annotations": {"someone": str(number)}}}
                await here.api.patch(DEPLOYMENTS.path(here.namespace, "writer-agent"), note)
                await here.api.patch(ARK_AGENTS.path(here.namespace, "writer"), note)

        async with asyncio.TaskGroup() as group:
            group.create_task(disturb())
            for number in range(1, 8):
                await here.scale_deployment(number)
                await here.patch(model=f"m{number}")
                await here.mirror(number)
            stop.set()

        async def right() -> bool:
            [container] = (await here.deployment())["spec"]["template"]["spec"]["containers"]
            return {"name": "AGENT_MODEL", "value": "m7"} in container["env"]

        await eventually(right, "the last model", every=0.05)
        assert "someone" in (await here.deployment())["metadata"]["annotations"], "what is theirs stays"


async def test_a_reconcile_that_raises_for_one_agent_does_not_delay_the_others(
    here: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(of: Any, *arguments: Any) -> Plan:
        if of.name == "bad":
            raise RuntimeError("a defect")
        return decide(of, *arguments)

    monkeypatch.setattr(reconciler, "decide", broken)
    async with operating(here, workers=1) as (_, port):
        await here.make(agent("bad", replicas=1))
        for number in range(20):
            await here.make(agent(f"good{number}", replicas=1))
        for number in range(20):
            await here.has("Ready", "Progressing", f"good{number}")
        errors = await samples(port, "controller_runtime_reconcile_errors_total")
        assert 1 <= errors <= 20, "it is tried again with a backoff"
        assert await samples(port, "controller_runtime_reconcile_total", result="success") >= 20


async def test_keda_that_is_not_there_and_is_installed_later(api_server: ApiServer) -> None:
    await asyncio.to_thread(install, api_server.control_plane, keda=False)
    async with world(api_server.control_plane) as here, operating(here):
        await here.make(agent(autoscaling={"minReplicas": 2}))
        assert "KEDA is not installed: the pool keeps its size" in await here.has("Autoscaling", "KedaMissing")
        await here.replicas(2)
        await here.make(agent("fixed", replicas=3))
        await here.replicas(3, "fixed")
        await here.patch(replicas=4)  # a person's number works all the same
        await here.replicas(4)
        await here.patch(replicas=None)
        await asyncio.to_thread(install_keda, api_server.control_plane)
        await here.has("Autoscaling", "Pending", seconds=60)
        assert (await here.scaled_object())["spec"]["minReplicaCount"] == 2


async def test_keda_whose_operator_is_gone(here: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ark_operator.readers.keda._LOOK_SECONDS", 0.1)
    path = LEASES.path("keda", "operator.keda.sh")
    lease = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": "operator.keda.sh"}}
    await here.api.create(LEASES.path("keda"), {**lease, "spec": {"holderIdentity": "keda", "leaseTransitions": 0}})
    async with operating(here, keda_silent_seconds=1.5):
        renewing = asyncio.create_task(renew(here, path))
        await here.make(agent(autoscaling={}))
        await here.has("Autoscaling", "Pending")
        await here.keda_says()
        await here.has("Autoscaling", "FollowsQueue")
        renewing.cancel()
        message = await here.has("Autoscaling", "KedaDown")
        assert "Check Deployment keda-operator" in message
        await here.patch(replicas=6)
        await here.replicas(6)
        await here.make(agent("fixed", replicas=3))
        await here.replicas(3, "fixed")
        await here.patch(replicas=None)
        await here.has("Autoscaling", "KedaDown")
        renewing = asyncio.create_task(renew(here, path))
        await here.has("Autoscaling", "FollowsQueue")
        renewing.cancel()


async def renew(here: World, path: str) -> None:
    for number in itertools.count():
        await here.api.patch(path, {"spec": {"renewTime": f"2026-11-24T12:00:00.{number:06}Z"}})
        await asyncio.sleep(0.2)


async def test_a_namespace_that_terminates_is_told_of_once_for_each_agent(here: World, tmp_path: Path) -> None:
    """There is no controller that ends it: what was deleted of it cannot be made again, for as long as one looks."""
    many = 8
    async with replica(here, tmp_path, "one") as one:
        await leading(one)
        for number in range(many):
            await here.make(agent(f"a{number}", autoscaling={}))
        for number in range(many):
            await here.has("Autoscaling", "Pending", f"a{number}")
        kubectl = here.control_plane.kubectl
        await asyncio.to_thread(kubectl.run, "delete", "namespace", here.namespace, "--wait=false")
        children = "deployments,scaledobjects"
        await asyncio.to_thread(kubectl.run, "delete", children, "--all", "-n", here.namespace, "--wait=false")

        async def tried_again() -> bool:
            return await samples(one.http_port, "workqueue_retries_total") >= 8 * many

        await eventually(tried_again, "further attempts", 60, every=0.2)
        lines = (json.loads(line) for line in one.output().splitlines() if line.startswith("{"))
        troubles = [line for line in lines if line["level"] in ("warning", "error")]
        assert any("being terminated" in line["error"] for line in troubles)
        assert len(troubles) <= 2 * many, "the Deployment's refusal, and the ScaledObject's"
