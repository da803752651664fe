"""TLS in both directions between KEDA and the scaler, with both kinds of object that give KEDA its certificate."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from hack.cluster import manifests
from hack.cluster.access import Access
from hack.cluster.manifests import Object, Scaling
from tests.cluster.stack import Credentials, Pool, Stack, deployed, make_pool
from tests.eventually import eventually


@pytest.fixture
async def tls_stack(access: Access) -> AsyncIterator[Stack]:
    """A stack whose scaler asks for certificates."""
    async with deployed(access, tls=True) as stack:
        yield stack


def authentication(namespace: str, name: str, secret: str, parameters: dict[str, str]) -> Object:
    """Return a TriggerAuthentication that takes parameters from the keys of a Secret."""
    references = [{"parameter": parameter, "name": secret, "key": key} for parameter, key in parameters.items()]
    return {
        "apiVersion": "keda.sh/v1alpha1",
        "kind": "TriggerAuthentication",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"secretTargetRef": references},
    }


WHOLE = {"caCert": "ca", "tlsClientCert": "cert", "tlsClientKey": "key"}


def certificate(stack: Stack) -> dict[str, str]:
    """Return what the client's Secret has."""
    credentials = stack.credentials
    assert isinstance(credentials, Credentials)
    return {"ca": credentials.authority, "cert": credentials.certificate, "key": credentials.key}


async def install(stack: Stack) -> None:
    """Apply the client's Secret, and an authentication with its certificate and one without."""
    await stack.apply(
        manifests.secret(stack.namespace, "keda-tls", certificate(stack)),
        authentication(stack.namespace, "with-certificate", "keda-tls", WHOLE),
        authentication(stack.namespace, "without-certificate", "keda-tls", {"caCert": "ca"}),
    )


async def secured_pool(stack: Stack, agent: str, authentication: str, kind: str = "TriggerAuthentication") -> Pool:
    """Deploy a pool whose trigger uses an authentication."""
    trigger = manifests.ark_trigger(
        stack.scaler_address,
        authentication=authentication,
        kind=kind,
        enableTLS="true",
        queue=f"{stack.namespace}/{agent}",
    )
    return await make_pool(stack, agent, Scaling(max_replicas=2), trigger=trigger)


async def test_keda_with_a_certificate_scales_and_one_without_is_refused(tls_stack: Stack) -> None:
    await install(tls_stack)
    refused = await secured_pool(tls_stack, "refused", "without-certificate")
    pool = await secured_pool(tls_stack, "writer", "with-certificate")
    await pool.accepted()
    await refused.submit([0.1])
    await pool.submit([0.1])
    await pool.reaches(1, 10)
    assert (await pool.condition("Ready"))["status"] == "True"

    async def told() -> bool:
        return (await refused.condition("Ready")).get("status") == "False"

    await eventually(told, "the refusal in the ScaledObject's status", 60.0, every=0.2)
    assert await refused.replicas() == 0


async def test_one_authentication_serves_the_whole_cluster_from_kedas_namespace(tls_stack: Stack) -> None:
    name, kind = tls_stack.namespace, "ClusterTriggerAuthentication"
    wide = authentication("", name, name, WHOLE)
    secret = manifests.secret("keda", name, certificate(tls_stack))
    await tls_stack.apply(secret, {**wide, "kind": kind, "metadata": {"name": name}})
    try:
        pool = await secured_pool(tls_stack, "writer", name, kind)
        await pool.accepted()
        await pool.submit([0.1])
        await pool.reaches(1, 10)
    finally:
        kubectl = tls_stack.access.kubectl
        await asyncio.to_thread(kubectl.run, "delete", kind, name)
        await asyncio.to_thread(kubectl.run, "delete", "secret", name, "-n", "keda")


async def test_keda_that_speaks_no_tls_is_refused(tls_stack: Stack) -> None:
    pool = await make_pool(tls_stack, "plain", Scaling(max_replicas=2))
    await pool.submit([0.1])

    async def told() -> bool:
        return (await pool.condition("Ready")).get("status") == "False"

    await eventually(told, "the refusal in the ScaledObject's status", 60.0, every=0.2)
    assert await pool.replicas() == 0
