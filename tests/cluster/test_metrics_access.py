"""The scaler's HTTPS endpoint, with metrics only for callers whom the real API server lets see them."""

from __future__ import annotations

import asyncio
import base64
import ssl
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

import pytest
import trustme
import yaml

from ark_process.metrics_access import MetricsAccess
from hack.cluster import manifests
from hack.cluster.access import Access
from hack.local.process import free_port
from hack.local.proxy import Proxy
from hack.local.redis_server import RedisServer
from hack.local.scaler_process import ScalerProcess
from tests.eventually import eventually


def granted(name: str) -> list[dict[str, Any]]:
    """Return a namespace with two accounts, one of which may see metrics."""
    role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": name}
    subject = {"kind": "ServiceAccount", "name": "prometheus", "namespace": name}
    made = [
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": account, "namespace": name}}
        for account in ("prometheus", "stranger")
    ]
    rules = [{"nonResourceURLs": ["/metrics"], "verbs": ["get"]}]
    rbac = "rbac.authorization.k8s.io/v1"
    return [
        manifests.namespace(name),
        *made,
        {"apiVersion": rbac, "kind": "ClusterRole", "metadata": {"name": name}, "rules": rules},
        {
            "apiVersion": rbac,
            "kind": "ClusterRoleBinding",
            "metadata": {"name": name},
            "roleRef": role,
            "subjects": [subject],
        },
    ]


@pytest.fixture
def tokens(access: Access) -> Iterator[dict[str, str]]:
    """Tokens of an account that may see metrics, and of one that may not."""
    kubectl, name = access.kubectl, f"metrics-{uuid.uuid4().hex[:6]}"
    kubectl.apply(granted(name))
    try:
        yield {
            account: kubectl.run("create", "token", account, "-n", name).strip()
            for account in ("prometheus", "stranger")
        }
    finally:
        kubectl.run("delete", f"clusterrole/{name}", f"clusterrolebinding/{name}")
        kubectl.run("delete", "namespace", name, "--wait=false")


def api_server(access: Access, folder: Path) -> tuple[str, Path]:
    """Return the API server's URL and a file with its CA."""
    [cluster] = yaml.safe_load(access.kubectl.kubeconfig.read_text())["clusters"]
    authority = folder / "cluster-ca.crt"
    if "certificate-authority-data" in cluster["cluster"]:
        authority.write_bytes(base64.b64decode(cluster["cluster"]["certificate-authority-data"]))
    else:
        authority.write_bytes(Path(cluster["cluster"]["certificate-authority"]).read_bytes())
    return cluster["cluster"]["server"], authority


def scaler(folder: Path, redis: str, server: str, authority: Path) -> tuple[ScalerProcess, ssl.SSLContext]:
    """Start a scaler with a certificate; return it, and what trusts it."""
    ca = trustme.CA()
    issued = ca.issue_cert("localhost")
    issued.private_key_pem.write_to_path(folder / "tls.key")
    issued.cert_chain_pems[0].write_to_path(folder / "tls.crt")
    context = ssl.create_default_context(cadata=ca.cert_pem.bytes().decode())
    flags: dict[str, str | None] = {
        "redis": redis,
        "tls-cert": str(folder / "tls.crt"),
        "tls-key": str(folder / "tls.key"),
        "http-tls": None,
        "metrics-api-server": server,
        "metrics-api-server-ca": str(authority),
    }
    return ScalerProcess(folder / "scaler", flags), context


async def status(port: int, path: str, context: ssl.SSLContext, token: str | None = None) -> tuple[int, str]:
    """Return status and text of a page."""

    def read() -> tuple[int, str]:
        headers = {"Authorization": f"Bearer {token}"} if token is not None else {}
        try:
            request = Request(f"https://localhost:{port}{path}", headers=headers)
            with urlopen(request, timeout=30, context=context) as answer:
                return answer.status, answer.read().decode()
        except HTTPError as error:
            return error.code, error.read().decode()

    return await asyncio.to_thread(read)


async def test_only_callers_that_may_get_the_path_see_metrics(
    access: Access, tokens: dict[str, str], redis_server: RedisServer, tmp_path: Path
) -> None:
    made, context = scaler(tmp_path, redis_server.url, *api_server(access, tmp_path))
    with made as running:
        port = running.http_port
        assert (await status(port, "/healthz", context))[0] == 200, "probes send no token"
        assert (await status(port, "/metrics", context))[0] == 401
        assert (await status(port, "/metrics", context, "no-such-token"))[0] == 401
        refused = await status(port, "/metrics", context, tokens["stranger"])
        assert (refused[0], "bind its account" in refused[1]) == (403, True)
        for _ in range(2):  # asked, and remembered
            code, page = await status(port, "/metrics", context, tokens["prometheus"])
            assert (code, "ark_scaler_redis_up" in page) == (200, True)


async def test_an_api_server_that_does_not_answer_lets_nobody_in(
    access: Access, tokens: dict[str, str], redis_server: RedisServer, tmp_path: Path
) -> None:
    _, authority = api_server(access, tmp_path)
    made, context = scaler(tmp_path, redis_server.url, f"https://127.0.0.1:{free_port()}", authority)
    with made as running:
        code, reason = await status(running.http_port, "/metrics", context, tokens["prometheus"])
        assert (code, "does not say" in reason) == (503, True)
        assert (await status(running.http_port, "/readyz", context))[0] == 200


@dataclass
class Clock:
    now: float = 1000.0

    def __call__(self) -> float:
        return self.now


async def test_an_answer_counts_for_a_minute_and_a_yes_for_longer_while_the_api_server_is_away(
    access: Access, tokens: dict[str, str], tmp_path: Path
) -> None:
    server, authority = api_server(access, tmp_path)
    place = urlsplit(server)
    if place.hostname != "127.0.0.1" or place.port is None:
        pytest.skip("the proxy of this test leads to a port of this machine, and this cluster is elsewhere")
    clock, asked = Clock(), 0
    async with Proxy(place.port) as proxy:
        asking = MetricsAccess(f"https://127.0.0.1:{proxy.port}", authority, clock)

        async def answer(account: str) -> int | None:
            refusal = await asking.refusal(f"Bearer {tokens[account]}", "192.0.2.1")
            return None if refusal is None else refusal.status

        many = await asyncio.gather(*(answer("prometheus") for _ in range(20)))
        assert set(many) == {None}
        assert await answer("stranger") == 403
        asked = proxy.connections
        assert asked <= 5, "the questions of one token, at a time, are one answer's"
        clock.now += 59
        assert (await answer("prometheus"), await answer("stranger")) == (None, 403)
        assert proxy.connections == asked
        clock.now += 2
        proxy.hang()
        assert (await answer("prometheus"), await answer("stranger")) == (None, 503)
        clock.now += 600
        assert await answer("prometheus") == 503
        proxy.resume()
        assert (await answer("prometheus"), await answer("stranger")) == (None, 403)


async def test_callers_with_junk_tokens_do_not_keep_prometheus_out(
    access: Access, tokens: dict[str, str], tmp_path: Path
) -> None:
    """Neither one that was let in before, nor one whose token is new, as after an hour or a restart of the scaler.

    The callers with junk are all at one address; one that was let in before may be at the same, behind a proxy.
    """
    clock, refused = Clock(), list[int]()
    asking = MetricsAccess(*api_server(access, tmp_path), clock)

    async def stranger() -> None:
        while True:
            refusal = await asking.refusal(f"Bearer {uuid.uuid4()}", "192.0.2.66")
            assert refusal is not None
            refused.append(refusal.status)
            await asyncio.sleep(0.01)

    async with asyncio.TaskGroup() as group:
        strangers = [group.create_task(stranger()) for _ in range(400)]
        await eventually(lambda: 401 in refused, "the strangers are asked about", 30)
        try:
            for address in ("192.0.2.1", "192.0.2.1", "192.0.2.66"):
                assert await asking.refusal(f"Bearer {tokens['prometheus']}", address) is None
                clock.now += 61
        finally:
            for one in strangers:
                one.cancel()
    assert set(refused) <= {401, 503}
