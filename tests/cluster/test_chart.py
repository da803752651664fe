"""The Helm chart on a real API server, with real KEDA: what it renders, and its whole life with an agent under load."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import re
import shutil
import subprocess
import sys
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import trustme
import yaml
from cryptography import x509

from ark_operator.cluster.kinds import ARK_AGENTS
from ark_operator.decision import template
from ark_taskqueue import connect
from hack.cluster import api, manifests, operator_manifests, programs
from hack.cluster.access import Access
from hack.cluster.api import DEPLOYMENTS, SECRETS, ApiError, Object
from hack.cluster.helm import CHART, Helm, HelmFailed, helm, process_cluster_values
from hack.cluster.kubectl import KubectlFailed
from hack.cluster.node.environment import expand
from tests.cluster.stack import Pool, Stack, recorded
from tests.eventually import eventually

RESTRICTED = {f"pod-security.kubernetes.io/{mode}": "restricted" for mode in ("enforce", "warn", "audit")}
BUNDLED = {"redis": {"bundled": {"enabled": True}}}
EVERYTHING: dict[str, Any] = {
    "commonLabels": {"team": "agents"},
    "commonAnnotations": {"contact": "us"},
    "image": {"repository": "registry.example/ark", "digest": f"sha256:{'0' * 64}", "pullPolicy": "Always"},
    "imagePullSecrets": [{"name": "registry"}],
    "redis": {"existingSecret": {"name": "redis", "key": "url"}},
    "allowStreams": "team-a=agent-tasks",
    "agents": {"image": "registry.example/agents:1", "redisUrl": "redis://redis.example:6379/0", "secret": ""},
    "crd": {"maxReplicas": 200},
    "metrics": {
        "authorization": True,
        "monitors": {"enabled": True, "labels": {"release": "prometheus"}},
        "rules": {"enabled": True, "labels": {"release": "prometheus"}},
        "dashboard": {"enabled": True},
    },
    "networkPolicy": {"enabled": True, "metricsFrom": [{"namespaceSelector": {}}]},
    "scaler": {
        "settings": {"ARK_SCALER_REDIS_TIMEOUT_SECONDS": 0.3},
        "service": {"headless": True, "annotations": {"a": "b"}},
        "autoscaling": {"enabled": True},
        "priorityClassName": "system-cluster-critical",
        "nodeSelector": {"kubernetes.io/os": "linux"},
        "tolerations": [{"key": "a", "operator": "Exists"}],
        "affinity": {"nodeAffinity": {}},
        "topologySpreadConstraints": [
            {"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule", "labelSelector": {}}
        ],
        "podLabels": {"x": "label"},
        "podAnnotations": {"x": "label"},
        "podSecurityContext": {"runAsUser": 1000},
        "securityContext": {"runAsGroup": 1000},
        "extraEnv": [{"name": "A", "value": "b"}],
        "extraEnvFrom": [{"configMapRef": {"name": "c", "optional": True}}],
        "extraVolumes": [{"name": "extra", "emptyDir": {}}],
        "extraVolumeMounts": [{"name": "extra", "mountPath": "/extra"}],
        "serviceAccount": {"annotations": {"role": "r"}},
    },
    "operator": {"concurrency": 5, "settings": {"ARK_OPERATOR_BURST_SECONDS": 2}},
}
VARIANTS: dict[str, dict[str, Any]] = {
    "a bundled Redis": BUNDLED,
    "everything": EVERYTHING,
    "a Redis elsewhere, one replica": {
        "redis": {"url": "redis://one:6379/0 big=redis://two:6379/0"},
        "scaler": {"replicas": 1},
        "operator": {"replicas": 1},
    },
    "cert-manager with a CA of the chart's": {**BUNDLED, "tls": {"source": "cert-manager"}},
    "cert-manager with an issuer": {
        **BUNDLED,
        "tls": {"source": "cert-manager", "certManager": {"issuerRef": {"kind": "ClusterIssuer", "name": "ours"}}},
    },
    "certificates of the user's": {
        **BUNDLED,
        "tls": {"source": "secrets", "secrets": {"server": "one", "client": "two"}},
    },
    "no TLS": {**BUNDLED, "tls": {"enabled": False}},
    "metrics without TLS": {**BUNDLED, "metrics": {"tls": False, "monitors": {"enabled": True}}},
    "the scaler alone": {**BUNDLED, "operator": {"enabled": False}},
    "one namespace": {**BUNDLED, "watchNamespace": "default"},
    "network policies for the bundled Redis too": {**BUNDLED, "networkPolicy": {"enabled": True}},
}
REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "which Redis": ({}, "no Redis is configured"),
    "two of them": ({"redis": {"url": "redis://x", "bundled": {"enabled": True}}}, "only one of them"),
    "a password in the open": ({"redis": {"url": "redis://:secret@x/0"}}, "redis.existingSecret.name"),
    "the Sentinels' password in the open": (
        {"redis": {"url": "redis+sentinel://s/main?sentinel_username=u&sentinel_password=secret"}},
        "redis.existingSecret.name",
    ),
    "a password for agents": ({**BUNDLED, "agents": {"redisUrl": "redis://u:secret@x/0"}}, "AGENT_REDIS"),
    "a misspelt value": ({**BUNDLED, "scaler": {"replcas": 3}}, "replcas"),
    "no certificates": ({**BUNDLED, "tls": {"source": "secrets"}}, "tls.secrets.server"),
    "tokens in the open": ({**BUNDLED, "metrics": {"tls": False, "authorization": True}}, "metrics.tls"),
    "somebody else's setting": ({**BUNDLED, "scaler": {"settings": {"PATH": "x"}}}, "PATH"),
    "Redis as a setting": (
        {**BUNDLED, "scaler": {"settings": {"ARK_SCALER_REDIS": "redis://:secret@x"}}},
        "ARK_SCALER_REDIS",
    ),
    "the operator's Redis as a setting": (
        {**BUNDLED, "operator": {"settings": {"ARK_OPERATOR_REDIS": "redis://:secret@x"}}},
        "ARK_OPERATOR_REDIS",
    ),
}


@dataclass(slots=True)
class Release:
    """One installation, and an agent's namespace for it."""

    access: Access
    helm: Helm
    values: dict[str, Any]
    namespace: str
    agents: str

    async def run(self, command: str, chart: Path = CHART, *flags: str) -> str:
        """Run ``helm install`` or ``helm upgrade``."""
        return await asyncio.to_thread(
            self.helm.run,
            *(command, "ark", str(chart), "-n", self.namespace, "--wait", "--timeout=120s", *flags),
            values=self.values,
        )

    async def secrets(self) -> list[Object]:
        """Return the data of the two certificates' Secrets."""
        kubectl = self.access.kubectl
        places = ((self.namespace, "ark-tls"), (self.agents, f"{self.namespace}-ark-client-tls"))
        return [
            (await asyncio.to_thread(kubectl.get, "secret", name, "-n", namespace))["data"]
            for namespace, name in places
        ]


@asynccontextmanager
async def installed(cluster: Access) -> AsyncIterator[tuple[Release, Pool]]:
    """Install the chart into a namespace of the restricted level, and make an agent in another one."""
    kubectl = cluster.kubectl
    suffix = uuid.uuid4().hex[:6]
    own, agents = f"ark-{suffix}", f"team-{suffix}"
    spaces = [manifests.namespace(name) for name in (own, agents)]
    for space in spaces:
        space["metadata"]["labels"] = RESTRICTED
    await asyncio.to_thread(kubectl.apply, spaces)
    shared = cluster.local is None  # with other tests, and the definition with it
    values: dict[str, Any] = {} if shared else await asyncio.to_thread(process_cluster_values, kubectl)
    values.setdefault("redis", {}).setdefault("bundled", {})["enabled"] = True
    values["operator"] = {"settings": {"ARK_OPERATOR_POLLING_SECONDS": 5, "ARK_OPERATOR_STATUS_SECONDS": 2}}
    values |= {"watchNamespace": agents, "image": {"tag": tag(manifests.IMAGE)}, "crd": {"install": not shared}}
    if shared:
        await asyncio.to_thread(kubectl.apply, [operator_manifests.crd()])
    release = Release(cluster, helm(kubectl.kubeconfig), values, own, agents)
    try:
        await release.run("install")
        redis = f"redis://{await asyncio.to_thread(cluster.address, own, 'ark-redis', 6379)}/0"
        client = connect(redis)
        try:
            async with api.connect(kubectl.kubeconfig) as connected:
                yield release, Pool(Stack(cluster, connected, agents, client, redis, ""), "writer")
        finally:
            await client.aclose()
    finally:
        await asyncio.to_thread(release.helm.run, "uninstall", "ark", "-n", own, "--ignore-not-found")
        for name in (agents, own):
            await asyncio.to_thread(kubectl.run, "delete", "namespace", name, "--wait=false")
        if not shared:  # the chart keeps it, as this release's; the next one is another
            await asyncio.to_thread(kubectl.run, "delete", "crd", "arkagents.arkonis.dev")


def tag(image: str) -> str:
    return image.partition(":")[2]


async def make(pool: Pool) -> None:
    """Apply the agent, and wait until KEDA scales it."""
    spec = {
        "model": "echo",
        "systemPrompt": "p",
        "limits": {"timeoutSeconds": 60},
        "autoscaling": {"maxReplicas": 3, "cooldownSeconds": 5, "tasksPerReplica": 5},
    }
    await pool.stack.apply(operator_manifests.agent(pool.stack.namespace, pool.agent, **spec))
    await pool.accepted()


def definitions(kubectl: Any) -> None:
    """Install the definitions of the objects that the chart makes for others."""
    built = programs.ensure((programs.CERT_MANAGER, programs.PROMETHEUS_OPERATOR))
    folders = (
        built.files(programs.CERT_MANAGER) / "deploy" / "crds",
        built.files(programs.PROMETHEUS_OPERATOR) / "example" / "prometheus-operator-crd",
    )
    wanted = ("certificates", "clusterissuers", "servicemonitors", "podmonitors", "prometheusrules")
    for folder in folders:
        for file in sorted(folder.glob("*.yaml")):
            if file.stem.rpartition("_")[2] in wanted:
                kubectl.run("apply", "--server-side", "-f", str(file))
    kubectl.run("wait", "--for=condition=Established", "--timeout=60s", "crd", "--all")


def pods_of(objects: list[Object], namespace: str) -> list[Object]:
    """Return a Pod for each Pod template: a Deployment is only warned of what its Pods are refused for."""
    found = []
    for item in objects:
        if item["kind"] == "Deployment":
            template = item["spec"]["template"]
            metadata = {
                "name": item["metadata"]["name"],
                "namespace": namespace,
                "labels": template["metadata"]["labels"],
            }
            found.append({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": template["spec"]})
    return found


@pytest.mark.parametrize("name", REFUSED)
def test_values_that_cannot_work_are_refused_with_their_name(name: str) -> None:
    values, told = REFUSED[name]
    with pytest.raises(HelmFailed, match=told):
        helm().rendered(values=values)


def test_every_value_of_the_schema_is_in_the_values_and_the_other_way_round() -> None:
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    schema = yaml.safe_load((CHART / "values.schema.json").read_text())

    def paths_of(value: Any, schema: Any, path: str) -> None:
        if "properties" not in schema or not isinstance(value, dict) or not value:
            return
        assert set(schema["properties"]) - {"global"} == set(value), path
        for key, inner in value.items():
            paths_of(inner, schema["properties"][key], f"{path}.{key}")

    paths_of(values, schema, "")


def test_a_setting_of_the_users_wins_and_is_there_once() -> None:
    settings = {"ARK_SCALER_HOLD_SECONDS": 1_000_000, "ARK_SCALER_LOG_LEVEL": "debug", "ARK_SCALER_HTTP_TLS": False}
    extra = [{"name": "ARK_SCALER_LOG_LEVEL", "value": "error"}, {"name": "OTHER", "value": "x"}]
    objects = helm().rendered(values={**BUNDLED, "scaler": {"settings": settings, "extraEnv": extra}})
    [deployment] = [o for o in objects if o["kind"] == "Deployment" and o["metadata"]["name"] == "ark-scaler"]
    variables = deployment["spec"]["template"]["spec"]["containers"][0]["env"]
    names = [variable["name"] for variable in variables]
    assert len(names) == len(set(names))
    values = {variable["name"]: variable["value"] for variable in variables}
    assert values["ARK_SCALER_HOLD_SECONDS"] == "1000000"
    assert (values["ARK_SCALER_LOG_LEVEL"], values["ARK_SCALER_HTTP_TLS"], values["OTHER"]) == ("error", "false", "x")


def test_a_users_security_context_wins_key_by_key_false_zero_and_null_too() -> None:
    values = {
        **BUNDLED,
        "scaler": {
            "podSecurityContext": {"runAsNonRoot": False, "runAsUser": 0, "fsGroup": None},
            "securityContext": {"readOnlyRootFilesystem": False, "capabilities": {"drop": ["NET_RAW"]}},
        },
    }
    [spec] = [
        o["spec"]["template"]["spec"]
        for o in helm().rendered(values=values)
        if o["kind"] == "Deployment" and o["metadata"]["name"] == "ark-scaler"
    ]
    assert spec["securityContext"] == {
        "runAsNonRoot": False,
        "runAsUser": 0,
        "runAsGroup": 65532,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    assert spec["containers"][0]["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": False,
        "capabilities": {"drop": ["NET_RAW"]},
    }


def test_null_is_as_good_as_nothing_for_every_value_that_may_be_empty() -> None:
    everything = {**BUNDLED, "networkPolicy": {"enabled": True}}
    everything["metrics"] = {"monitors": {"enabled": True}, "rules": {"enabled": True}, "dashboard": {"enabled": True}}
    schema = yaml.safe_load((CHART / "values.yaml").read_text())

    def empty(values: Any, path: str) -> Iterator[str]:
        if isinstance(values, dict) and values:
            for key, inner in values.items():
                yield from empty(inner, f"{path}.{key}" if path else key)
        elif values in ("", {}, []):
            yield path

    paths = list(empty(schema, ""))
    assert len(paths) > 40
    for path in paths:
        helm().rendered("-n", "x", "--set", f"{path}=null", values=everything)


def test_releases_of_long_names_do_not_share_cluster_wide_objects() -> None:
    def wide(namespace: str) -> set[str]:
        objects = helm().rendered("-n", namespace, "--set", f"fullnameOverride={'n' * 40}", values=BUNDLED)
        kinds = ("ClusterRole", "ClusterRoleBinding", "ClusterTriggerAuthentication")
        names = {o["metadata"]["name"] for o in objects if o["kind"] in kinds}
        assert max(map(len, names)) <= 63
        return names

    assert not wide("a" * 50) & wide("a" * 50 + "b")


def test_the_operators_rights_are_those_that_the_tests_run_with() -> None:
    def rules(objects: list[Object]) -> list[Any]:
        kinds = ("ClusterRole", "Role")
        return sorted(
            (item["rules"] for item in objects if item["kind"] in kinds and "view" not in item["metadata"]["name"]),
            key=str,
        )

    values = {**BUNDLED, "crd": {"aggregateRoles": False}}
    mine = rules(helm().rendered("-n", "ark-system", values=values))
    assert mine == rules(operator_manifests.rbac())


def test_nothing_of_an_installation_for_one_namespace_is_cluster_wide() -> None:
    off = {"crd": {"install": False}, "templatePolicy": {"enabled": False}}
    for tls in ({"source": "chart"}, {"source": "cert-manager", "certManager": {"issuerRef": {"name": "ours"}}}):
        objects = helm().rendered("-n", "ark-system", values={**BUNDLED, **off, "tls": tls, "watchNamespace": "team"})
        assert all("namespace" in item["metadata"] for item in objects)
        [authentication] = [item for item in objects if item["kind"] == "TriggerAuthentication"]
        secret = authentication["spec"]["secretTargetRef"][0]["name"]
        secrets = {(o["metadata"]["namespace"], o["metadata"]["name"]) for o in objects if "Auth" not in o["kind"]}
        assert authentication["metadata"]["namespace"] == "team"
        assert ("team", secret) in secrets, "KEDA looks for it where the TriggerAuthentication is"


def test_the_scaler_has_no_rights() -> None:
    objects = helm().rendered("-n", "ark-system", values=BUNDLED)
    [deployment] = [o for o in objects if o["kind"] == "Deployment" and o["metadata"]["name"] == "ark-scaler"]
    assert deployment["spec"]["template"]["spec"]["automountServiceAccountToken"] is False
    bound = [s["name"] for o in objects if o["kind"].endswith("Binding") for s in o["subjects"]]
    assert set(bound) == {"ark-operator"}


@pytest.mark.timeout(600)
def test_all_that_it_renders_is_accepted_under_the_restricted_level(cluster: Access) -> None:
    kubectl = cluster.kubectl
    spaces = [manifests.namespace("restricted"), manifests.namespace("cert-manager")]
    spaces[0]["metadata"]["labels"] = RESTRICTED
    kubectl.apply(spaces)
    definitions(kubectl)
    for name, values in VARIANTS.items():
        objects = helm().rendered("-n", "restricted", values=values)
        for item in objects:
            if item["kind"] == "Deployment":
                item["spec"]["template"]["spec"].pop("priorityClassName", None)
        # A real API server takes no Pod, not even on trial, before its account is there.
        kubectl.apply([item for item in objects if item["kind"] == "ServiceAccount"])
        manifest = yaml.safe_dump_all([*objects, *pods_of(objects, "restricted")])
        shown = kubectl.run("apply", "--server-side", "--dry-run=server", "-f", "-", stdin=manifest)
        assert shown.count("serverside-applied") == len(objects) + len(pods_of(objects, "restricted")), name


async def doctor(release: Release) -> tuple[int, str]:
    """Return the exit code of ``kubectl ark doctor``, and what it says."""
    kubectl = release.access.kubectl
    environment = {**os.environ, "KUBECONFIG": str(kubectl.kubeconfig), "ARK_KUBECTL": str(kubectl.program)}
    command = [str(Path(sys.executable).parent / "kubectl-ark"), "doctor", "-n", release.agents]
    ended = await asyncio.to_thread(
        subprocess.run, command, capture_output=True, text=True, timeout=90, check=False, env=environment
    )
    assert not ended.stderr
    return ended.returncode, ended.stdout


@pytest.mark.containers
@pytest.mark.timeout(600)
async def test_the_doctor_finds_what_is_broken_and_nothing_else(cluster: Access) -> None:
    async with installed(cluster) as (release, pool):
        await make(pool)
        code, said = await doctor(release)
        assert (code, "FAULT" in said) == (0, False), said
        for told in (
            "leads",
            "the scaler trusts its CA",
            "has all 20",
            "the HPA gets its metrics from keda/",
            "answers over TLS with KEDA's certificate",
        ):
            assert told in said
        kubectl = cluster.kubectl

        async def broken(told: str) -> None:
            async def found() -> bool:
                code, said = await doctor(release)
                return code == 1 and any("FAULT" in line and told in line for line in said.splitlines())

            await eventually(found, f"the doctor's {told!r}", 240, every=0.5)

        namespace, client = release.namespace, f"{release.namespace}-ark-client-tls"
        other = trustme.CA().issue_cert("keda-operator")

        async def with_client(key: str, pem: bytes) -> None:
            patch = json.dumps({"data": {key: base64.b64encode(pem).decode()}})
            await asyncio.to_thread(kubectl.run, "patch", "secret", client, "-n", release.agents, "-p", patch)

        path = SECRETS.path(release.agents, client)
        key = base64.b64decode((await pool.stack.api.get(path))["data"]["tls.key"])
        await with_client("tls.key", other.private_key_pem.bytes())
        await broken("does not answer as KEDA asks it")
        await with_client("tls.key", key)
        assert (await doctor(release))[0] == 0

        before = await release.secrets()
        for namespace_of, name in ((namespace, "ark-tls"), (release.agents, client)):
            await asyncio.to_thread(kubectl.run, "delete", "secret", name, "-n", namespace_of)
        await release.run("upgrade")
        # A kubelet puts the new files into running Pods in a minute or two; processes get theirs at the start.
        await asyncio.to_thread(kubectl.run, "rollout", "restart", "deployment/ark-scaler", "-n", namespace)
        server, of_keda = await release.secrets()
        assert server["ca.crt"] == of_keda["ca.crt"]
        assert not {server["tls.crt"], of_keda["tls.crt"]} & {old["tls.crt"] for old in before}

        async def healthy() -> bool:
            return (await doctor(release))[0] == 0

        await eventually(healthy, "the doctor's leave after new certificates", 240, every=0.5)
        container = {"name": "scaler", "env": [{"name": "ARK_SCALER_REDIS", "value": "nonsense"}]}
        strategy = {"type": "Recreate", "rollingUpdate": None}  # a rolling update keeps the Pods that work
        spec = {"replicas": 2, "strategy": strategy, "template": {"spec": {"containers": [container]}}}
        patch = json.dumps({"spec": spec})
        await asyncio.to_thread(kubectl.run, "patch", "deployment", "ark-scaler", "-n", namespace, "-p", patch)
        await broken("ark-scaler: 0 of 2 ready")
        await asyncio.to_thread(kubectl.run, "delete", "rolebinding", "-n", release.agents, "--all")
        await broken("may not list arkagents.arkonis.dev")
        await with_client("tls.crt", other.cert_chain_pems[0].bytes())
        await broken("KEDA's certificate is not signed by a CA that the scaler trusts")
        await asyncio.to_thread(kubectl.run, "delete", "secret", client, "-n", release.agents)
        await broken(f"Secret {release.agents}/{client} with a certificate is not there")


@pytest.mark.containers
@pytest.mark.timeout(600)
async def test_a_release_lives_under_load_through_upgrade_rollback_and_uninstall(
    cluster: Access, tmp_path: Path
) -> None:
    second = tmp_path / "ark"
    shutil.copytree(CHART, second)
    chart = second / "Chart.yaml"
    chart.write_text(chart.read_text().replace("0.1.0", "0.2.0"))
    async with installed(cluster) as (release, pool):
        certificates = await release.secrets()
        await make(pool)
        ids = await pool.submit([1.0] * 8)
        await pool.reaches(2, 30)
        done = asyncio.Event()

        async def load() -> None:
            while not done.is_set():
                ids.extend(await pool.submit([1.0] * 2))
                await asyncio.sleep(0.4)

        async with recorded(pool) as recorder, asyncio.TaskGroup() as group:
            group.create_task(load())
            release.values["image"] = {"tag": tag(manifests.NEXT_IMAGE)}
            await release.run("upgrade", second)

            async def rolled_out() -> bool:
                found = await pool.stack.api.get(pool.path)
                image = found["spec"]["template"]["spec"]["containers"][0]["image"]
                status = found["status"]
                current = status.get("observedGeneration") == found["metadata"]["generation"]
                return bool(
                    image == manifests.NEXT_IMAGE and current and status.get("updatedReplicas") == status["replicas"]
                )

            await eventually(rolled_out, "the agents' new image", 120, every=0.3)
            assert await release.secrets() == certificates
            await asyncio.to_thread(
                release.helm.run, "rollback", "ark", "1", "-n", release.namespace, "--wait", "--timeout=120s"
            )
            assert await release.secrets() == certificates
            done.set()
        results = await pool.results(ids)
        assert {(result.status, result.attempts) for result in results} == {("completed", 1)}
        assert 0 not in recorder.values, "never at zero under load"

        await asyncio.to_thread(release.helm.run, "uninstall", "ark", "-n", release.namespace, "--wait")
        agent = await pool.stack.api.get(ARK_AGENTS.path(pool.stack.namespace, pool.agent))
        assert agent["spec"]["model"] == "echo", "the definition stays, and with it the agents"
        for path in (DEPLOYMENTS.path(release.namespace, "ark-operator"), SECRETS.path(release.namespace, "ark-tls")):
            with pytest.raises(ApiError, match="not found"):
                await pool.stack.api.get(path)


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"redis": {"url": "redis://:p/w@h:6379/0"}}, "redis.url has a password"),
        ({"redis": {"url": "redis://:p#w@h"}}, "redis.url has a password"),
        ({"redis": {"url": "redis://a/0 big=rediss://u:p@h"}}, "redis.url has a password"),
        ({"redis": {"url": "redis+sentinel://a/main?sentinel_password=p"}}, "redis.url has a password"),
        ({**BUNDLED, "agents": {"redisUrl": "redis://:p/w@h"}}, "agents.redisUrl has a password"),
        (
            {**BUNDLED, "scaler": {"extraEnv": [{"name": "ARK_SCALER_REDIS", "value": "redis://:p/w@h"}]}},
            "scaler.extraEnv[ARK_SCALER_REDIS].value has a password",
        ),
        ({"redis": {"url": "redis://a@b:S3cret@h"}}, "redis.url has a password"),
        ({"redis": {"url": "redis://:S3cret pw@h"}}, "redis.url has a password"),
        ({"redis": {"url": "redis:/:S3cret@h"}}, "redis.url has a password"),
        ({"redis": {"url": "user:S3cret@h"}}, "redis.url has a password"),
        ({"redis": {"url": "redis+sentinel://h/m?sentinel%5Fpassword=S3cret"}}, "redis.url has a password"),
        ({**BUNDLED, "agents": {"redisUrl": "redis://h?password=S3cret"}}, "agents.redisUrl has a password"),
        (
            {**BUNDLED, "scaler": {"extraContainers": [{"name": "a", "args": ["--redis=redis://u:p@h"]}]}},
            "scaler.extraContainers[a].args has a password",
        ),
        (
            {**BUNDLED, "operator": {"podAnnotations": {"redis": "redis://u:p@h"}}},
            "operator.podAnnotations.redis has a password",
        ),
        (
            {**BUNDLED, "operator": {"settings": {"ARK_OPERATOR_AGENT_REDIS": "redis://u:p@h"}}},
            "operator.settings.ARK_OPERATOR_AGENT_REDIS has a password",
        ),
        ({"redis": {"bundled": {"enabled": True, "extraArgs": ["--requirepass", "p"]}}}, "would show a password"),
        ({"redis": {"bundled": {"enabled": True, "extraArgs": ["--RequirePass", "p"]}}}, "would show a password"),
        ({"redis": {"bundled": {"enabled": True, "extraArgs": ["--a b --primaryauth p"]}}}, "would show a password"),
    ],
)
def test_a_password_outside_of_a_secret_is_refused_in_every_form(values: dict[str, Any], named: str) -> None:
    with pytest.raises(HelmFailed, match=re.escape(named)):
        helm().rendered(values=values)


@pytest.mark.parametrize(
    "url",
    [
        "redis://user@h:6379/0",
        "redis://a:1/0 big=redis://b:2/0",
        "redis://a:1/0 big=redis://user@b:2/0",
        "redis+cluster://a:1,b:2",
        "redis://:$(PASSWORD)@h",
    ],
)
def test_a_url_without_a_password_is_taken(url: str) -> None:
    assert helm().rendered(values={"redis": {"url": url}})


def test_without_a_cluster_no_new_certificates_are_made_unless_that_is_wanted() -> None:
    """`helm template` made new ones each time, without a word: with GitOps KEDA was locked out at each sync."""
    with pytest.raises(HelmFailed, match=r"each rendering would make new ones.*tls.newOnEachRender=true"):
        helm().run("template", "ark", str(CHART), values=BUNDLED)
    assert helm().run("template", "ark", str(CHART), "--set", "tls.enabled=false", values=BUNDLED)


def test_the_metrics_are_open_to_those_alone_who_are_named() -> None:
    def open_ports(**policy: Any) -> dict[str, list[Any]]:
        objects = helm().rendered(values={**BUNDLED, "networkPolicy": {"enabled": True, **policy}})
        policies = [item for item in objects if item["kind"] == "NetworkPolicy"]
        return {
            item["metadata"]["name"]: [
                rule for rule in item["spec"].get("ingress") or [] if {"port": "http"} in rule["ports"]
            ]
            for item in policies
        }

    assert not any(open_ports().values())
    peer = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}}
    opened = open_ports(metricsFrom=[peer])
    assert [rule["from"] for rule in opened["ark-scaler"]] == [[peer]]
    assert opened["ark-operator"]


def test_a_user_id_may_be_left_to_the_cluster() -> None:
    """OpenShift gives each namespace a range of its own, and takes no fixed one."""
    none = {"runAsUser": None, "runAsGroup": None, "fsGroup": None}
    parts: dict[str, Any] = {name: {"podSecurityContext": none} for name in ("scaler", "operator")}
    values = {**parts, "redis": {"bundled": {"enabled": True, "podSecurityContext": none}}}
    for item in helm().rendered(values=values):
        if item["kind"] == "Deployment":
            context = item["spec"]["template"]["spec"]["securityContext"]
            assert context == {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}


def test_all_agents_have_a_user_and_requests_unless_the_values_say_otherwise() -> None:
    def given(**agents: Any) -> Any:
        objects = helm().rendered(values={**BUNDLED, "agents": agents})
        [operator] = [
            item for item in objects if item["metadata"]["name"] == "ark-operator" and item["kind"] == "Deployment"
        ]
        variables = operator["spec"]["template"]["spec"]["containers"][0]["env"]
        [text] = [item["value"] for item in variables if item["name"] == "ARK_OPERATOR_AGENT_TEMPLATE"]
        return template.parse(expand(text, {"X": "the operator's own"}))["spec"]

    requests = [{"name": "agent", "resources": {"requests": {"cpu": "50m", "memory": "128Mi"}}}]
    assert given() == {"securityContext": {"runAsUser": 65532, "runAsGroup": 65532}, "containers": requests}
    openshift = given(template={"spec": {"securityContext": None, "tolerations": [{"key": "llm"}]}})
    assert openshift == {"containers": requests, "tolerations": [{"key": "llm"}]}
    assert given(template={"spec": {"hostname": "$(X) $$(X) 5$"}})["hostname"] == "$(X) $$(X) 5$"


async def test_a_template_is_for_those_who_may_create_deployments(cluster: Access) -> None:
    kubectl = cluster.kubectl
    suffix = uuid.uuid4().hex[:6]
    namespace = f"policy-{suffix}"
    objects = helm(kubectl.kubeconfig).run(
        "template",
        "ark",
        str(CHART),
        "-n",
        namespace,
        "--set",
        "tls.newOnEachRender=true",
        "--validate",
        "--show-only",
        "templates/policy.yaml",
        values={**BUNDLED, "watchNamespace": namespace, "crd": {"install": False}},
    )
    rules = [{"apiGroups": ["arkonis.dev"], "resources": ["arkagents"], "verbs": ["get", "create", "update", "patch"]}]
    role = {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "rules": rules}
    binding = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "RoleBinding",
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "agents"},
        "subjects": [{"kind": "User", "name": f"author-{suffix}", "apiGroup": "rbac.authorization.k8s.io"}],
    }
    metadata = {"name": "agents", "namespace": namespace}
    await asyncio.to_thread(
        kubectl.apply,
        [
            operator_manifests.crd(),
            manifests.namespace(namespace),
            {**role, "metadata": metadata},
            {**binding, "metadata": metadata},
            *[item for item in yaml.safe_load_all(objects) if item],
        ],
    )
    try:
        spec = {"model": "echo", "systemPrompt": "p"}
        plain = operator_manifests.agent(namespace, "plain", **spec)
        template = {"spec": {"serviceAccountName": "rich"}}
        templated = operator_manifests.agent(namespace, "templated", **spec, template=template)

        def apply_as(user: str, item: Object) -> str:
            return kubectl.run("apply", f"--as={user}", "-f", "-", stdin=json.dumps(item))

        author = f"author-{suffix}"
        await asyncio.to_thread(apply_as, author, plain)

        async def refused() -> bool:
            try:
                await asyncio.to_thread(apply_as, author, templated)
            except KubectlFailed as error:
                return "only for those who may create Deployments" in str(error)
            await asyncio.to_thread(kubectl.run, "delete", "arkagent", "templated", "-n", namespace)
            return False

        await eventually(refused, "the policy takes effect", 60, every=0.5)
        await asyncio.to_thread(kubectl.apply, [templated])  # an administrator's
        templated["spec"]["systemPrompt"] = "Another."
        await asyncio.to_thread(apply_as, author, templated)  # the template is what it was
    finally:
        for kind in ("validatingadmissionpolicybinding", "validatingadmissionpolicy"):
            name = f"{namespace}-ark-agent-templates"
            await asyncio.to_thread(kubectl.run, "delete", kind, name, "--ignore-not-found")
        await asyncio.to_thread(kubectl.run, "delete", "namespace", namespace, "--wait=false")


@pytest.mark.parametrize("source", ["chart", "cert-manager"])
@pytest.mark.parametrize(("names", "has"), [(["keda.example", "b"], ["keda.example", "b"]), ([], ["keda-operator"])])
def test_kedas_certificate_has_the_names_that_are_asked_for(source: str, names: list[str], has: list[str]) -> None:
    objects = helm().rendered(values={**BUNDLED, "tls": {"source": source, "clientNames": names}})
    if source == "cert-manager":
        [wanted] = [o["spec"] for o in objects if o["kind"] == "Certificate" and "client auth" in str(o["spec"])]
        assert (wanted["commonName"], wanted["dnsNames"]) == (has[0], has)
        return
    [secret] = [o for o in objects if o["kind"] == "Secret" and "client" in o["metadata"]["name"]]
    certificate = x509.load_pem_x509_certificate(base64.b64decode(secret["data"]["tls.crt"]))
    found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert found.get_values_for_type(x509.DNSName) == has
