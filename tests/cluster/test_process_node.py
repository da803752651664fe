"""Pods on the process node: kubectl tells the truth about them, and they end as they would in a cluster."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import signal
import subprocess
import sys
from contextlib import aclosing
from pathlib import Path
from typing import Any

import psutil
import pytest

from hack.cluster import manifests
from hack.cluster.api import DEPLOYMENTS, PODS
from hack.cluster.manifests import Object
from hack.cluster.process_cluster import ProcessCluster
from hack.local.process import heed_interrupts
from tests.cluster.stack import Stack
from tests.eventually import eventually

PRINT_AND_WAIT = "import os,time; print({}, flush=True); time.sleep(3600)"


@pytest.fixture(autouse=True)
def only_there(stack: Stack) -> None:
    """On a cluster with a kubelet there is nothing of ours to test here."""
    if stack.access.local is None:
        pytest.skip("a cluster of another kind has no process node")


def pod(stack: Stack, name: str, code: str, *, restart: str = "Always", grace: int = 30, **fields: Any) -> Object:
    """Return a Pod that runs Python code."""
    spec_fields: Object = {key: fields.pop(key) for key in ("volumes", "serviceAccountName") if key in fields}
    container: Object = {"name": "main", "image": "x", "command": ["python", "-c", code], **fields}
    spec: Object = {
        "containers": [container],
        "restartPolicy": restart,
        "terminationGracePeriodSeconds": grace,
        **spec_fields,
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": stack.namespace, "labels": {"app": name}},
        "spec": spec,
    }


async def shown(stack: Stack, name: str) -> tuple[str, ...]:
    """Return READY, STATUS and RESTARTS as ``kubectl get pods`` shows them; nothing where the Pod is gone."""
    lines = (await stack.kubectl("get", "pods", "--no-headers", "--ignore-not-found", name)).splitlines()
    return tuple(lines[0].split()[1:4]) if lines else ()


async def shows(stack: Stack, name: str, *wanted: str) -> None:
    """Wait until kubectl shows a Pod so."""

    async def there() -> bool:
        return (await shown(stack, name))[: len(wanted)] == wanted

    await eventually(there, f"{name} as {wanted}", every=0.1)


async def log(stack: Stack, name: str) -> str:
    """Return a Pod's log as soon as it has printed a line."""
    found = ""

    async def printed() -> bool:
        nonlocal found
        found = await stack.kubectl("logs", name)
        return found.endswith("\n")

    await eventually(printed, f"a line of {name}", every=0.1)
    return found


async def test_a_pod_waits_for_a_secret_and_says_so_then_runs_with_it(stack: Stack) -> None:
    env = [
        {"name": "TOKEN", "valueFrom": {"secretKeyRef": {"name": "late", "key": "token"}}},
        {"name": "NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
        {"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
    ]
    code = PRINT_AND_WAIT.format("sorted((k, os.environ[k]) for k in ('TOKEN', 'NAME', 'IP'))")
    await stack.apply(pod(stack, "env", code, env=env))
    await shows(stack, "env", "0/1", "CreateContainerConfigError", "0")
    assert "secret 'late' not found" in await stack.kubectl("get", "pod", "env", "-o", "yaml")
    await stack.apply(manifests.secret(stack.namespace, "late", {"token": "s3"}))
    await shows(stack, "env", "1/1", "Running", "0")
    printed = await log(stack, "env")
    assert "('NAME', 'env')" in printed
    assert "('TOKEN', 's3')" in printed
    assert "('IP', '127." in printed


async def test_the_machines_own_variables_do_not_leak_into_a_pod(stack: Stack) -> None:
    item = pod(stack, "clean", PRINT_AND_WAIT.format("sorted(os.environ)"))
    item["spec"]["enableServiceLinks"] = False
    await stack.apply(item)
    allowed = {"PATH", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "TMPDIR", "HOME"}
    # What each Pod gets: where its programs listen, and the API server as a kubelet names it, links or not.
    allowed |= {"AGENT_HOST", "ARK_SCALER_HOST", "ARK_OPERATOR_HOST"}
    allowed |= {"KUBERNETES_SERVICE_HOST", "KUBERNETES_SERVICE_PORT"}
    assert set(json.loads((await log(stack, "clean")).replace("'", '"'))) <= allowed


async def test_a_mounted_secret_is_found_at_its_path(stack: Stack) -> None:
    await stack.apply(
        manifests.secret(stack.namespace, "files", {"a.pem": "AAA"}),
        pod(
            stack,
            "mount",
            "import sys,time; print(open(sys.argv[1]).read(), flush=True); time.sleep(3600)",
            args=["/certs/a.pem"],
            volumes=[{"name": "c", "secret": {"secretName": "files"}}],
            volumeMounts=[{"name": "c", "mountPath": "/certs"}],
        ),
    )
    assert await log(stack, "mount") == "AAA\n"


async def test_a_container_that_ends_is_started_again_and_then_later_and_later(stack: Stack) -> None:
    await stack.apply(pod(stack, "crash", "raise SystemExit(3)"))
    await shows(stack, "crash", "0/1", "CrashLoopBackOff")
    status = json.loads(await stack.kubectl("get", "pod", "crash", "-o", "json"))["status"]["containerStatuses"][0]
    assert status["restartCount"] >= 2, "the first restart comes at once"
    assert status["lastState"]["terminated"]["exitCode"] == 3
    assert "back-off 10s" in status["state"]["waiting"]["message"]


@pytest.mark.parametrize(("code", "status"), [("pass", "Completed"), ("raise SystemExit(1)", "Error")])
async def test_a_pod_that_runs_once_ends_for_good(stack: Stack, code: str, status: str) -> None:
    await stack.apply(pod(stack, "once", code, restart="Never"))
    await shows(stack, "once", "0/1", status, "0")


async def test_what_the_node_cannot_do_stands_in_the_pods_status(stack: Stack) -> None:
    await stack.apply(pod(stack, "hooks", "pass", lifecycle={"preStop": {"exec": {"command": ["true"]}}}))
    await shows(stack, "hooks", "0/1", "CreateContainerError")
    assert "container 'main' has lifecycle hooks" in await stack.kubectl("describe", "pod", "hooks")


async def test_a_pod_that_the_node_stumbles_over_does_not_hurt_the_others(stack: Stack) -> None:
    """Each of these once ended the whole node, and with it every Pod."""
    state = stack.access.local
    assert state is not None
    pids = dict(state.pids)
    probe = {"httpGet": {"path": "/", "port": "nameless"}, "periodSeconds": 1}
    secret = [{"name": "X", "valueFrom": {"secretKeyRef": {"name": "binary", "key": "x"}}}]
    long = pod(stack, "long-" + "x" * 240, PRINT_AND_WAIT.format(1))
    del long["metadata"]["labels"]
    await stack.apply(
        pod(stack, "healthy", PRINT_AND_WAIT.format(1)),
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": "binary", "namespace": stack.namespace},
            "data": {"x": base64.b64encode(b"\xff\xfe").decode()},
        },
        pod(stack, "port", PRINT_AND_WAIT.format(1), readinessProbe=probe),
        pod(stack, "text", PRINT_AND_WAIT.format(1), env=secret),
        long,
    )
    await shows(stack, "port", "0/1", "Running")
    await shows(stack, "text", "0/1", "CreateContainerError")
    await shows(stack, "long-" + "x" * 240, "1/1", "Running")
    await shows(stack, "healthy", "1/1", "Running", "0")
    assert pids["process-node"] == state.pids["process-node"]


async def test_a_pod_is_told_of_its_namespaces_services(stack: Stack) -> None:
    code = PRINT_AND_WAIT.format("os.environ['REDIS_PORT'], os.environ.get('ARK_SCALER_SERVICE_PORT')")
    await stack.apply(pod(stack, "links", code))
    address = await asyncio.to_thread(stack.access.address, stack.namespace, manifests.REDIS, manifests.REDIS_PORT)
    assert await log(stack, "links") == f"tcp://{address} 6000\n"


async def test_a_followed_log_ends_with_its_container(stack: Stack) -> None:
    await stack.apply(
        pod(stack, "brief", "import time; print(1, flush=True); time.sleep(2); print(2)", restart="Never")
    )
    await log(stack, "brief")
    async with asyncio.timeout(30):
        assert await stack.kubectl("logs", "-f", "brief") == "1\n2\n"


async def test_a_pod_for_another_scheduler_stays_pending(stack: Stack) -> None:
    item = pod(stack, "pending", "pass")
    item["spec"]["schedulerName"] = "nobody"
    await stack.apply(item, pod(stack, "taken", PRINT_AND_WAIT.format(1)))
    await shows(stack, "taken", "1/1", "Running")
    assert await shown(stack, "pending") == ("0/1", "Pending", "0")


async def test_readiness_and_liveness_follow_their_probes(stack: Stack) -> None:
    exists = "import os,sys; sys.exit(not os.path.exists(sys.argv[1]))"
    fields: dict[str, Any] = {
        "readinessProbe": {"exec": {"command": ["python", "-c", exists, "ready"]}, "periodSeconds": 1},
        "livenessProbe": {"exec": {"command": ["python", "-c", "import os,sys; sys.exit(os.path.exists('dead'))"]}}
        | {"periodSeconds": 1, "failureThreshold": 1, "timeoutSeconds": 10},
    }
    state = stack.access.local
    assert state is not None
    await stack.apply(pod(stack, "probed", PRINT_AND_WAIT.format(1), **fields))
    await shows(stack, "probed", "0/1", "Running", "0")
    [folder] = (state.logs.parent / "pods").glob(f"{stack.namespace}_probed_*")
    (folder / "ready").touch()
    await shows(stack, "probed", "1/1", "Running", "0")
    (folder / "ready").unlink()
    await shows(stack, "probed", "0/1", "Running", "0")
    (folder / "dead").touch()

    async def restarted() -> bool:
        return int((await shown(stack, "probed"))[2]) >= 1

    await eventually(restarted, "a restart of what is not alive", every=0.1)


async def test_a_probe_finds_the_volumes_where_the_container_does(stack: Stack) -> None:
    fields: dict[str, Any] = {
        "volumes": [{"name": "state", "emptyDir": {}}],
        "volumeMounts": [{"name": "state", "mountPath": "/state"}],
        "env": [{"name": "BEGAN", "value": "/state/began"}],
        "readinessProbe": {"exec": {"command": ["test", "-e", "/state/began"]}, "periodSeconds": 1},
    }
    code = "import os,time; open(os.environ['BEGAN'], 'w').close(); time.sleep(3600)"
    await stack.apply(pod(stack, "probed", code, **fields))
    await shows(stack, "probed", "1/1", "Running", "0")


def runs(pid: int) -> bool:
    """Return whether a process runs; one that has ended may wait for a parent that does not look."""
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


STUBBORN = "import signal,time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(1, flush=True); time.sleep(3600)"
POLITE = """
import signal, subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(3600)"])
signal.signal(signal.SIGTERM, lambda *_: (time.sleep(1), sys.exit(0)))
print(child.pid, flush=True)
while True: time.sleep(1)
"""


@pytest.mark.parametrize(("code", "grace", "exit_code"), [(STUBBORN, 1, 137), (POLITE, 30, 0)])
async def test_a_deleted_pod_gets_sigterm_then_its_grace_period_then_sigkill(
    stack: Stack, code: str, grace: int, exit_code: int
) -> None:
    await stack.apply(pod(stack, "ends", code, grace=grace))
    printed = (await log(stack, "ends")).strip()
    ended: list[int] = []

    async def watch() -> None:
        async with aclosing(stack.api.watch(PODS.path(stack.namespace), fieldSelector="metadata.name=ends")) as events:
            async for event in events:
                statuses = event.object["status"].get("containerStatuses", [])
                ended.extend(s["state"]["terminated"]["exitCode"] for s in statuses if "terminated" in s["state"])
                if event.type == "DELETED":
                    return

    async with asyncio.timeout(30), asyncio.TaskGroup() as group:
        group.create_task(watch())
        await stack.kubectl("delete", "pod", "ends", "--wait=false")
    assert ended[-1] == exit_code
    if code == POLITE:
        assert not runs(int(printed)), "what a container has started ends with it"


async def test_a_pod_has_exactly_its_service_accounts_rights(stack: Stack) -> None:
    name, namespace = "reader", stack.namespace
    rbac = {"apiVersion": "rbac.authorization.k8s.io/v1", "metadata": {"name": name, "namespace": namespace}}
    await stack.apply(
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name, "namespace": namespace}},
        {**rbac, "kind": "Role", "rules": [{"apiGroups": ["apps"], "resources": ["deployments"], "verbs": ["get"]}]},
        {
            **rbac,
            "kind": "RoleBinding",
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name},
            "subjects": [{"kind": "ServiceAccount", "name": name, "namespace": namespace}],
        },
    )
    encoded = "__import__('base64').b64encode(open(os.environ['KUBECONFIG'], 'rb').read()).decode()"
    await stack.apply(pod(stack, "account", PRINT_AND_WAIT.format(encoded), serviceAccountName=name))
    text = base64.b64decode(await log(stack, "account")).decode()
    assert DEPLOYMENTS.plural not in text
    rights = {}
    for verb, resource in (("get", "deployments"), ("list", "deployments"), ("get", "secrets")):
        command = [str(stack.access.kubectl.program), "--kubeconfig=/dev/stdin", "auth", "can-i", verb, resource]
        answer = await asyncio.to_thread(
            subprocess.run, command, input=text, capture_output=True, text=True, check=False
        )
        rights[verb, resource] = answer.stdout.strip()
    assert rights == {("get", "deployments"): "yes", ("list", "deployments"): "no", ("get", "secrets"): "no"}


def descendants_of(folder: Path) -> set[int]:
    """Return the processes whose command line or working folder lies in a folder."""
    found = set()
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                here = str(folder) in (entry / "cmdline").read_text() or str(folder) in os.readlink(entry / "cwd")
            except OSError:
                continue
            if here:
                found.add(int(entry.name))
    return found


async def test_ctrl_c_while_a_cluster_starts_leaves_nothing(stack: Stack, tmp_path: Path) -> None:
    folder = tmp_path / "early"
    command = [sys.executable, "-c", START_AND_HANG, str(folder)]
    starter = await asyncio.create_subprocess_exec(
        *command, stderr=asyncio.subprocess.DEVNULL, preexec_fn=heed_interrupts
    )
    await eventually(lambda: bool(descendants_of(folder / "etcd")), "the start of etcd", 60.0)
    starter.send_signal(signal.SIGINT)
    async with asyncio.timeout(60):
        await starter.wait()
    await eventually(lambda: not descendants_of(folder), "the end of all processes", 60.0, every=0.1)


START_AND_HANG = """
import sys, time
from pathlib import Path
from hack.cluster.process_cluster import ProcessCluster
cluster = ProcessCluster(Path(sys.argv[1])).start()
print("up", flush=True)
time.sleep(3600)
"""


@pytest.mark.parametrize("victim", ["starter", "supervisor", "node"])
async def test_whoever_of_its_owners_is_killed_no_process_is_left(stack: Stack, tmp_path: Path, victim: str) -> None:
    """A second cluster, whose end is what is tested."""
    folder = tmp_path / "second"
    command = [sys.executable, "-c", START_AND_HANG, str(folder)]
    starter = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    assert starter.stdout is not None
    try:
        async with asyncio.timeout(240):
            assert await starter.stdout.readline() == b"up\n"
        cluster = ProcessCluster(folder)
        kubectl = cluster.kubectl
        item = pod(stack, "orphan", PRINT_AND_WAIT.format(1))
        item["metadata"]["namespace"] = "default"
        await asyncio.to_thread(kubectl.apply, [item])
        waiting = ("wait", "--for=condition=Ready", "pod/orphan", "--timeout=60s")
        await asyncio.to_thread(kubectl.run, *waiting)
        if victim == "node":
            old = cluster.state.pids["process-node"]
            os.kill(old, 9)
            await eventually(lambda: cluster.state.pids["process-node"] != old, "another node", 60.0)

            async def running_again() -> bool:
                pods = await asyncio.to_thread(kubectl.get, "pods")
                statuses = pods["items"][0]["status"]["containerStatuses"]
                return len([p for p in descendants_of(folder / "pods") if p != old]) >= 2 and statuses[0]["ready"]

            await eventually(running_again, "the Pod on the new node", 60.0, every=0.2)
        if victim == "supervisor":
            [supervisor] = psutil.Process(starter.pid).children()
            supervisor.kill()
            await eventually(lambda: not descendants_of(folder / "pods"), "the end of all Pods", 60.0, every=0.1)
    finally:
        starter.kill()
        await starter.wait()
    await eventually(lambda: not descendants_of(folder), f"the end of {descendants_of(folder)}", 60.0, every=0.1)
