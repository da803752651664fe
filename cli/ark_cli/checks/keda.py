"""Whether KEDA is there, runs, and serves its metrics to the HPA."""

from __future__ import annotations

from collections.abc import AsyncIterator

from ark_cli.checks.finding import Finding, fault, ok, unknown, warning
from ark_cli.checks.installation import Installation
from ark_cli.checks.lease import read_lease
from ark_cli.errors import CliError, NotThere
from ark_cli.kubectl import Kubectl
from ark_cli.redis_access import RedisAccess

_INSTALL = "install KEDA 2.20 or later into the namespace keda; the operator notices it within half a minute"
_SILENT_SECONDS = 60
_METRICS = "/apis/apiregistration.k8s.io/v1/apiservices/v1beta1.external.metrics.k8s.io"


async def keda(kubectl: Kubectl, _: RedisAccess, installation: Installation) -> AsyncIterator[Finding]:
    """See whether ScaledObjects are known, KEDA's operator runs, and its metrics are served."""
    try:
        await kubectl.get("/apis/keda.sh/v1alpha1")
    except NotThere:
        yield fault("KEDA is not installed: pools keep their size", _INSTALL)
        return
    async for finding in _lease(kubectl, installation):
        yield finding
    try:
        service = await kubectl.get(_METRICS)
    except NotThere:
        yield fault(
            "external metrics are not served: the HPA cannot exceed one replica", "reinstall KEDA's metrics API server"
        )
        return
    except CliError as error:
        yield unknown(f"who serves external metrics: {error}")
        return
    served_by = service["spec"].get("service") or {}
    namespace, name = served_by.get("namespace", ""), served_by.get("name", "")
    available = next((one for one in service["status"]["conditions"] if one["type"] == "Available"), None)
    if available is None or available["status"] != "True":
        said = available.get("message", "") if available else "no condition yet"
        yield fault(f"KEDA's metrics are not available: {said}", f"see the Pods of Service {namespace}/{name}")
    elif "keda" not in name:
        yield warning(
            f"external metrics are served by {namespace}/{name}, not by KEDA: the HPA gets none of the scaler's",
            "let KEDA's adapter own the APIService v1beta1.external.metrics.k8s.io",
        )
    else:
        yield ok(f"the HPA gets its metrics from {namespace}/{name}")


async def _lease(kubectl: Kubectl, installation: Installation) -> AsyncIterator[Finding]:
    """KEDA's operator renews a Lease while it runs."""
    namespace = installation.keda_namespace
    name = installation.settings.get("ARK_OPERATOR_KEDA_LEASE", "operator.keda.sh")
    try:
        lease = await read_lease(kubectl, namespace, name, installation.now)
    except NotThere:
        yield fault(
            f"KEDA's CRDs are installed, but no KEDA operator has ever led in namespace {namespace}",
            "set keda.namespace to where KEDA runs, or start it",
        )
        return
    except CliError as error:
        yield unknown(f"whether KEDA's operator runs: {error}")
        return
    if lease.age_seconds > _SILENT_SECONDS:
        yield fault(
            f"KEDA's operator is down: its lease was renewed {lease.age_seconds:.0f} s ago; pools keep their size",
            f"kubectl -n {namespace} describe pods -l app=keda-operator",
        )
    else:
        yield ok(f"its operator runs in namespace {namespace}")
