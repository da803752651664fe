"""What only containers show: users and file systems, names, signals to a first process, a node that is drained."""

from __future__ import annotations

import asyncio
import json
import signal
import uuid
from contextlib import aclosing

import aiohttp
import pytest

from ark_taskqueue import connect
from hack.cluster import manifests, operator_manifests
from hack.cluster.access import Access
from hack.cluster.api import PODS, Object
from tests.cluster.stack import Stack
from tests.cluster.test_operator import make, with_operator
from tests.eventually import eventually

pytestmark = pytest.mark.containers
ANY_USER = 1_000_670_000
"""As OpenShift gives them out."""
HTTP_PORT = 8080
CALL = aiohttp.ClientTimeout(total=10)
CONNECTIONS_PER_SECOND = 20
GRACE_SECONDS = 30
LOAD_SECONDS = 2.0
SLOTS = 5


@pytest.fixture
def containers(access: Access) -> None:
    """Skips where Pods are none, before a stack is made."""
    if access.local is not None:
        pytest.skip("Pods are processes here: CLUSTER=node, kind or current has containers")


@pytest.fixture
def real(containers: None, stack: Stack) -> Stack:
    """A stack whose Pods are containers."""
    return stack


def confined(spec: Object) -> Object:
    """Return a Pod's spec with all that the restricted level asks for, and a user that no image knows."""
    [container] = spec["containers"]
    rights = {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "readOnlyRootFilesystem": True,
        "runAsNonRoot": True,
        "runAsUser": ANY_USER,
        "runAsGroup": 0,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    return {**spec, "containers": [{**container, "securityContext": rights}]}


async def test_every_program_works_for_any_user_without_a_file_system_of_its_own(real: Stack) -> None:
    scaler = manifests.scaler(real.namespace, real.redis_url)[-1]
    template = scaler["spec"]["template"]
    template["spec"] = confined(template["spec"])
    await real.apply(scaler)
    await real.ready(manifests.SCALER)
    container = confined({"containers": [{"name": "agent"}]})["containers"][0]
    async with with_operator(real) as governed:
        name = operator_manifests.ACCOUNT
        patch = {"spec": {"template": {"spec": {"containers": [{**container, "name": "main"}]}}}}
        await governed.kubectl("patch", "deployment", name, "-p", json.dumps(patch))
        await governed.kubectl("rollout", "status", f"deployment/{name}", "--timeout=50s")
        pod = {"securityContext": {"runAsUser": ANY_USER}, "containers": [container]}
        pool = await make(governed, autoscaling={"maxReplicas": 2}, template={"spec": pod})
        await pool.accepted()
        [result] = await pool.results(await pool.submit([0.1]))
        assert (result.status, result.attempts) == ("completed", 1)
        for deployment in (manifests.SCALER, name, f"{pool.agent}-agent"):
            command = ("sh", "-c", "id -u; touch /x 2>&1; true")
            said = await real.kubectl("exec", f"deployment/{deployment}", "--", *command)
            assert said.split()[0] == str(ANY_USER)
            assert "Read-only file system" in said


async def test_pods_find_services_by_their_names(real: Stack) -> None:
    host = f"{manifests.REDIS}.{real.namespace}"
    for name in (f"{host}.svc", f"{host}.svc.cluster.local"):
        program = f"import socket; socket.create_connection(({name!r}, {manifests.REDIS_PORT}), 5); print('connected')"
        said = await real.kubectl("exec", f"deployment/{manifests.SCALER}", "--", "python", "-c", program)
        assert said == "connected\n"


async def test_a_port_forward_reaches_what_a_pod_listens_on(real: Stack) -> None:
    """It dials the Pod's loopback: a program that listens on its Pod's address alone is out of reach."""
    far = Access(real.access.kubectl, near=False)
    with far.reach(real.namespace, manifests.REDIS, manifests.REDIS_PORT) as address:
        client = connect(f"redis://{address}/0")
        try:
            assert await client.ping()
        finally:
            await client.aclose()


@pytest.mark.timeout(300)
@pytest.mark.parametrize("program", ["ark-scaler", "ark-agent"])
async def test_a_pod_that_is_deleted_while_it_starts_does_not_use_up_its_grace_period(
    real: Stack, program: str
) -> None:
    for delay in (0.0, 0.3, 0.8, 1.5):
        code = await deleted_after(real, program, delay)
        assert code in (0, 128 + signal.SIGTERM), (
            f"ended with {code}: SIGTERM {delay} s after the container's start was not heard"
        )


async def deleted_after(stack: Stack, program: str, delay: float) -> int | None:
    """Return how a Pod ends that is deleted so long after its container runs."""
    name = f"{program}-{uuid.uuid4().hex[:6]}"
    await stack.apply(starting(stack, name, program))
    path = PODS.path(stack.namespace, name)

    async def running() -> bool:
        statuses = (await stack.api.get(path)).get("status", {}).get("containerStatuses", [])
        return any("running" in status["state"] for status in statuses)

    await eventually(running, "the container", 60, every=0.02)
    async with asyncio.timeout(60 + 2 * GRACE_SECONDS), asyncio.TaskGroup() as group:
        ending = group.create_task(exit_code(stack, name))
        await asyncio.sleep(delay)
        await stack.kubectl("delete", "pod", name, "--wait=false")
    return ending.result()


async def exit_code(stack: Stack, name: str) -> int | None:
    """Return how a Pod's container has ended, when the Pod is gone."""
    code: int | None = None
    watch = stack.api.watch(PODS.path(stack.namespace), fieldSelector=f"metadata.name={name}")
    async with aclosing(watch) as events:
        async for event in events:
            for status in event.object.get("status", {}).get("containerStatuses", []):
                code = status["state"].get("terminated", {}).get("exitCode", code)
            if event.type == "DELETED":
                break
    return code


def starting(stack: Stack, name: str, program: str) -> Object:
    environment = [
        {"name": "ARK_SCALER_REDIS", "value": stack.redis_url},
        {"name": "AGENT_REDIS", "value": stack.redis_url},
        {"name": "AGENT_QUEUE", "value": f"{stack.namespace}/nothing"},
        {"name": "AGENT_NAME", "value": name},
    ]
    container = {"name": "main", "image": manifests.IMAGE, "command": [program], "env": environment}
    spec = {
        "containers": [container],
        "terminationGracePeriodSeconds": GRACE_SECONDS,
        "enableServiceLinks": False,
        "automountServiceAccountToken": False,
    }
    metadata = {"name": name, "namespace": stack.namespace}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": confined(spec)}


async def test_a_rolling_restart_of_the_operator_turns_nobody_away(real: Stack) -> None:
    if not real.access.near:
        pytest.skip("a port-forward leads to one Pod and not through the Service, so this cluster's is out of reach")
    # On a saturated machine 3 s were too short (ADR 14); what is asked here is whether the operator waits at all.
    async with with_operator(real, **{"drain-seconds": "15"}) as governed:
        name = operator_manifests.ACCOUNT
        await governed.apply(manifests.service(governed.namespace, name, HTTP_PORT))
        await governed.kubectl("scale", "deployment", name, "--replicas=2")
        await governed.ready(name)
        url = f"http://{name}.{governed.namespace}:{HTTP_PORT}/metrics"
        before = {pod["metadata"]["uid"] for pod in await governed.pods(name)}
        statuses: list[int] = []
        failures: list[str] = []

        stop = asyncio.Event()

        async def connect_once() -> None:
            try:
                async with aiohttp.ClientSession(timeout=CALL) as session, session.get(url) as answer:
                    statuses.append(answer.status)
            except (aiohttp.ClientError, TimeoutError) as error:
                failures.append(repr(error))

        async def connect_until_told() -> None:
            async with asyncio.TaskGroup() as group:
                while not stop.is_set():
                    group.create_task(connect_once())
                    await asyncio.sleep(1 / CONNECTIONS_PER_SECOND)

        async def replaced() -> bool:
            pods = await governed.pods(name)
            return len(pods) == 2 and not before & {pod["metadata"]["uid"] for pod in pods}

        await eventually(lambda: reached(url), "the Service", 30)
        async with asyncio.TaskGroup() as group:
            group.create_task(connect_until_told())
            await governed.kubectl("rollout", "restart", f"deployment/{name}")
            await eventually(replaced, "new operators", 120, every=0.2)
            stop.set()
    print(f"{len(statuses)} connections")
    assert failures == []
    assert set(statuses) == {200}


async def reached(url: str) -> bool:
    """kube-proxy knows a new Service a moment later."""
    try:
        async with aiohttp.ClientSession(timeout=CALL) as session, session.get(url) as answer:
            return answer.status == 200
    except (aiohttp.ClientError, TimeoutError):
        return False


async def test_no_task_is_lost_or_repeated_by_a_rolling_restart_and_a_drained_node(real: Stack) -> None:
    if not real.access.near:
        pytest.skip("the nodes of this cluster are not the tests' to drain")
    async with with_operator(real) as governed:
        pool = await make(governed, f"writer-{uuid.uuid4().hex[:6]}", replicas=3)
        label = f"arkonis.dev/deployment={pool.agent}"
        ids: list[str] = []
        done = asyncio.Event()

        async def load() -> None:
            while not done.is_set():
                ids.extend(await pool.submit([LOAD_SECONDS] * SLOTS))
                await asyncio.sleep(LOAD_SECONDS / 2)

        async def pods() -> list[Object]:
            found = await governed.api.get(PODS.path(governed.namespace), labelSelector=label)
            return list(found["items"])

        async def replaced(before: set[str]) -> bool:
            now = {pod["metadata"]["uid"] for pod in await pods()}
            return len(now) == 3 and not before & now

        await governed.ready(f"{pool.agent}-agent")
        async with asyncio.TaskGroup() as group:
            group.create_task(load())
            await eventually(lambda: len(ids) > 2 * SLOTS, "some load")
            before = {pod["metadata"]["uid"] for pod in await pods()}
            await governed.kubectl("rollout", "restart", f"deployment/{pool.agent}-agent")
            await eventually(lambda: replaced(before), "new workers", 120, every=0.2)
            await governed.ready(f"{pool.agent}-agent")
            now = await pods()
            before = {pod["metadata"]["uid"] for pod in now}
            kubectl = governed.access.kubectl
            for node in {pod["spec"]["nodeName"] for pod in now}:
                try:
                    drain = ("drain", node, f"--pod-selector={label}", "--ignore-daemonsets", "--delete-emptydir-data")
                    await asyncio.to_thread(kubectl.run, *drain, "--timeout=90s", seconds=100)
                finally:
                    await asyncio.to_thread(kubectl.run, "uncordon", node)
            await eventually(lambda: replaced(before), "workers after the drain", 120, every=0.2)
            await governed.ready(f"{pool.agent}-agent")
            done.set()
        results = await pool.results(ids)
    assert {(result.status, result.attempts) for result in results} == {("completed", 1)}
