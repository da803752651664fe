"""The operator as a program: its settings, its HTTP endpoint, its rights, its credentials."""

from __future__ import annotations

import asyncio
import ssl
import subprocess
import sys
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any
from urllib.error import HTTPError

import pytest
import trustme
from kubernetes.aio.config import incluster_config
from pydantic import ValidationError

from ark_kube.client import Client, transport
from ark_kube.errors import NoApiServer
from ark_kube.reflector import NotAllowed
from ark_operator.assembly import running as making
from ark_operator.cluster.kinds import ARK_AGENTS
from ark_operator.settings import OperatorSettings
from hack.cluster.api import SERVICE_ACCOUNTS
from tests.cluster.operator.operating import World, agent, operating, settings_of
from tests.cluster.operator.scrape import page, samples
from tests.eventually import eventually


async def test_metrics_have_controller_runtimes_names_and_meanings(here: World) -> None:
    async with operating(here, workers=7) as (_, port):
        await here.make(agent(replicas=1))
        await here.make(agent("scaled", autoscaling={}))
        await here.has("Ready", "Progressing")
        await here.has("Autoscaling", "Pending", "scaled")

        assert await samples(port, "controller_runtime_max_concurrent_reconciles", controller="arkagent") == 7
        assert await samples(port, "controller_runtime_reconcile_total", controller="arkagent") >= 2
        assert await samples(port, "controller_runtime_reconcile_time_seconds_count") >= 2
        assert await samples(port, "workqueue_queue_duration_seconds_count", name="arkagent") >= 2
        assert await samples(port, "workqueue_work_duration_seconds_count", name="arkagent") >= 2
        assert await samples(port, "workqueue_depth", name="arkagent") == 0
        assert await samples(port, "leader_election_master_status", name="ark-operator") == 1
        assert await samples(port, "rest_client_requests_total", method="POST", code="201") >= 3
        assert await samples(port, "ark_operator_agents", mode="Static") == 1
        assert await samples(port, "ark_operator_agents", mode="Auto") == 1
        assert 0 <= await samples(port, "ark_operator_watch_silent_seconds", resource="arkagents") < 60
        assert await page(port, "/healthz") == await page(port, "/readyz") == "ok\n"


async def test_the_endpoint_is_https_with_a_certificate_that_may_be_renewed(here: World, tmp_path: Path) -> None:
    first, second = trustme.CA(), trustme.CA()
    certificate, key = tmp_path / "tls.crt", tmp_path / "tls.key"

    def issue(authority: trustme.CA) -> None:
        pair = authority.issue_cert("127.0.0.1")
        pair.private_key_pem.write_to_path(key)
        pair.cert_chain_pems[0].write_to_path(certificate)

    def trusting(authority: trustme.CA) -> ssl.SSLContext:
        context = ssl.create_default_context()
        authority.configure_trust(context)
        return context

    issue(first)
    async with operating(here, tls_cert=certificate, tls_key=key) as (_, port):
        text = await page(port, "/metrics", trusting(first))
        assert "workqueue_depth" in text
        issue(second)

        async def renewed() -> bool:
            try:
                return "workqueue_depth" in await page(port, "/metrics", trusting(second))
            except OSError:
                return False

        await eventually(renewed, "the new certificate")
        key.write_text("no key")
        assert await renewed(), "the last good one stays"


async def test_a_standby_that_follows_the_cluster_is_ready_and_writes_nothing(here: World) -> None:
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(operating(here))
        await here.make(agent(replicas=1))
        await here.has("Ready", "Progressing")
        standby, port = await stack.enter_async_context(operating(here))
        await eventually(lambda: standby.readiness.lacks() is None, "the standby ready")
        await here.patch(replicas=2)
        await here.replicas(2)
        assert await page(port, "/readyz") == "ok\n"
        assert await samples(port, "leader_election_master_status") == 0
        assert await samples(port, "rest_client_requests_total", method="POST|PATCH|DELETE") == 0


async def test_not_ready_says_why(here: World) -> None:
    async with making(settings_of(here)) as (_, port):  # made, and not run
        with pytest.raises(HTTPError) as caught:
            await page(port, "/readyz")
        assert caught.value.code == 503
        assert caught.value.read().decode() == "arkagents are not listed yet\n"
        assert await page(port, "/healthz") == "ok\n"


async def test_a_right_that_is_missing_ends_it_with_a_message(here: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ark_kube.reflector._REFUSED_SECONDS", 2.0)
    nobody = here.control_plane.kubeconfig_for("nobody")
    with pytest.raises(ExceptionGroup) as caught:
        async with operating(here, kubeconfig=nobody):
            await asyncio.sleep(30)
    assert caught.group_contains(NotAllowed, match="the ServiceAccount needs list and watch on", depth=2)


def run(*flags: str, **variables: str) -> tuple[int, str]:
    """Run the program, and return its exit code and what it said."""
    ended = subprocess.run(
        [sys.executable, "-m", "ark_operator", *flags],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={"PATH": "/usr/bin:/bin", **variables},
    )
    assert "Traceback" not in ended.stderr
    return ended.returncode, ended.stderr


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ([], "--image (ARK_OPERATOR_IMAGE) is missing: Image of the agents' container"),
        (["--image=x", "--tls-key=k"], "--tls-cert and --tls-key go together: one of them is missing"),
        (["--image=x", "--lease-seconds=5"], "--lease-retry-seconds, --lease-renew-seconds, --lease-seconds: "),
        (
            ["--image=x", "--redis=http://x"],
            "--redis (ARK_OPERATOR_REDIS): connection 'default': Redis URL has the scheme",
        ),
        (["--image=x", "--redis="], "--redis (ARK_OPERATOR_REDIS): no Redis connection is given"),
        (["--image=x", "--workers=0"], "--workers (ARK_OPERATOR_WORKERS) is '0': "),
        (["--image=x"], "no kubeconfig and no ServiceAccount token"),
        (["--image=x", "--kubeconfig=/nowhere"], "kubeconfig /nowhere: "),
    ],
)
def test_a_bad_setting_is_one_line_that_names_it(flags: list[str], message: str) -> None:
    code, said = run(*flags)
    assert (code, said.count("\n")) == (2, 1), said
    assert said.startswith(f"ark-operator: {message}")


def test_a_redis_password_stays_out_of_deployments() -> None:
    def urls(**values: Any) -> object:
        return OperatorSettings(_cli_parse_args=[], image="x", **values).options.agent_redis

    secret, plain = "redis://:secret@a:6379/0", "b=redis://b:6379/0"
    assert urls(redis=f"{secret} {plain}") == {"b": "redis://b:6379/0"}
    assert urls(redis=secret, agent_redis="redis://c:6379/0") == {"default": "redis://c:6379/0"}
    sentinels = "redis+sentinel://s:26379/main?sentinel_username=u&sentinel_password=secret"
    assert urls(redis=sentinels) == {}
    with pytest.raises(ValidationError, match="put the URL into the agents' Secret as AGENT_REDIS"):
        urls(agent_redis=secret)


async def test_a_pods_service_account_is_used_where_there_is_no_kubeconfig(
    here: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = SERVICE_ACCOUNTS.path(here.namespace, "ark-operator", "token")
    token = (await here.api.create(path, {"spec": {"expirationSeconds": 3600}}))["status"]["token"]
    (tmp_path / "token").write_text(token)
    (tmp_path / "ca.crt").write_text(here.control_plane.authority.certificate.read_text())
    monkeypatch.setattr(incluster_config, "SERVICE_TOKEN_FILENAME", str(tmp_path / "token"))
    monkeypatch.setattr(incluster_config, "SERVICE_CERT_FILENAME", str(tmp_path / "ca.crt"))
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "127.0.0.1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", str(here.control_plane.port))
    await here.make(agent(replicas=1))
    async with transport(None) as official:
        client = Client(official, "test")
        for _ in range(2):
            listed = await client.get(ARK_AGENTS.path(here.namespace))
            assert [item["metadata"]["name"] for item in listed["items"]] == ["writer"]
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST")
    with pytest.raises(NoApiServer, match="no kubeconfig and no ServiceAccount token"):
        async with transport(None):
            pass
