"""What the doctor makes of a server and of certificates. No cluster."""

from __future__ import annotations

from base64 import b64encode
from datetime import UTC, datetime, timedelta

import pytest
import trustme

from ark_cli.checks import certificates, redis, rights
from ark_cli.checks.certificates import Side
from ark_cli.checks.finding import Finding, Verdict
from ark_taskqueue import ServerFacts, connect, read_server
from hack.cluster import operator_manifests
from hack.local.redis_server import RedisServer

NOW = datetime.now(UTC)


@pytest.mark.parametrize(
    ("facts", "verdicts", "told"),
    [
        (ServerFacts((9, 1, 0), "noeviction", True, 0.2), ["ok"], "9.1.0"),
        (ServerFacts((7, 2, 4), "", True, 0.2), ["ok"], "7.2.4"),
        (ServerFacts((6, 2, 1), "noeviction", True, 0.2), ["warning"], "slowly"),
        (ServerFacts((5, 0, 1), "noeviction", True, 0.2), ["FAULT"], "7.0"),
        (ServerFacts((9, 1, 0), "allkeys-lru", True, 0.2), ["FAULT"], "tasks would be lost"),
        (ServerFacts((9, 1, 0), "volatile-ttl", True, 0.2), ["warning"], "results"),
        (ServerFacts((9, 1, 0), "noeviction", False, 0.2), ["warning"], "keeps nothing"),
    ],
)
def test_a_server_that_may_lose_tasks_is_a_fault(facts: ServerFacts, verdicts: list[str], told: str) -> None:
    found = redis.judged("Redis", facts)
    assert [str(one.verdict) for one in found] == verdicts
    assert any(told in one.message + one.do for one in found)


async def test_a_servers_facts_are_its_own(redis_server: RedisServer) -> None:
    client = connect(redis_server.url)
    try:
        await client.execute_command("CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
        await client.execute_command("CONFIG", "SET", "save", "")
        await client.execute_command("CONFIG", "SET", "appendonly", "no")
        without = await read_server(client)
        await client.execute_command("CONFIG", "SET", "maxmemory-policy", "noeviction")
        await client.execute_command("CONFIG", "SET", "save", "3600 1")
        kept = await read_server(client)
    finally:
        await client.execute_command("CONFIG", "SET", "save", "")
        await client.aclose()
    assert (without.eviction, without.keeps) == ("allkeys-lru", False)
    assert (kept.eviction, kept.keeps) == ("noeviction", True)
    assert kept.version >= (6, 2)
    assert kept.milliseconds > 0


def side(name: str, authority: trustme.CA, trusted: trustme.CA, host: str, days: float = 90) -> Side:
    issued = authority.issue_cert(host, not_after=NOW + timedelta(days=days))
    pem = {"shows": issued.cert_chain_pems[0].bytes(), "trusts": trusted.cert_pem.bytes()}
    return Side.of(name, {key: b64encode(value).decode() for key, value in pem.items()}, "shows", "trusts")


def said(found: list[Finding]) -> str:
    return "; ".join(f"{one.verdict}: {one.message}" for one in found)


def test_certificates_that_fit_are_well() -> None:
    ca = trustme.CA()
    found = certificates.judged(side("s", ca, ca, "scaler"), side("k", ca, ca, "keda"), "scaler", NOW)
    assert [one.verdict for one in found] == [Verdict.OK, Verdict.OK]


@pytest.mark.parametrize(("days", "told"), [(-1, "FAULT: s's certificate expired"), (5, "warning: s's")])
def test_an_end_is_told_before_it_comes(days: float, told: str) -> None:
    ca = trustme.CA()
    found = certificates.judged(side("s", ca, ca, "scaler", days), side("k", ca, ca, "keda"), "scaler", NOW)
    assert told in said(found)


@pytest.mark.parametrize(
    ("of", "scaler_trusts", "keda_trusts", "host", "told"),
    [
        (1, 0, 0, "scaler", "FAULT: k's certificate is not signed by a CA that s trusts"),
        (0, 1, 0, "scaler", "FAULT: k's certificate is not signed by a CA that s trusts"),
        (0, 0, 1, "scaler", "FAULT: s's certificate is not signed by a CA that k trusts"),
        (0, 0, 0, "elsewhere", "FAULT: KEDA calls the scaler elsewhere"),
    ],
)
def test_a_certificate_of_another_ca_or_name_is_a_fault(
    of: int, scaler_trusts: int, keda_trusts: int, host: str, told: str
) -> None:
    known = (trustme.CA(), trustme.CA())
    scaler = side("s", known[0], known[scaler_trusts], "scaler")
    keda = side("k", known[of], known[keda_trusts], "keda")
    assert told in said(certificates.judged(scaler, keda, host, NOW))


def test_what_is_no_certificate_cannot_be_read() -> None:
    with pytest.raises(ValueError, match="PEM"):
        Side.of("s", {"a": b64encode(b"x").decode(), "b": ""}, "a", "b")


def test_the_rights_that_are_asked_for_are_those_that_the_operator_has() -> None:
    [role] = [item for item in operator_manifests.rbac() if item["kind"] == "ClusterRole"]
    granted = sorted(
        (group, resource, sorted(rule["verbs"]))
        for rule in role["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
    )
    assert sorted((group, resource, sorted(verbs)) for group, resource, verbs in rights.OPERATORS) == granted
