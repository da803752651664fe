"""Whether the API server answers, knows ArkAgents, and runs operator and scaler."""

from __future__ import annotations

from collections.abc import AsyncIterator

from ark_api.names import API_GROUP, PLURAL
from ark_cli.checks.finding import Finding, fault, ok, unknown, warning
from ark_cli.checks.installation import Installation, place
from ark_cli.checks.lease import read_lease
from ark_cli.errors import CliError, Forbidden, NotThere
from ark_cli.kubectl import AGENTS_API, Kubectl, Object
from ark_cli.redis_access import RedisAccess

_DEFINITION = f"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{PLURAL}.{API_GROUP}"
_INSTALL = "helm install ark charts/ark -n ark-system --create-namespace"


async def api_server(kubectl: Kubectl, _: RedisAccess, __: Installation) -> AsyncIterator[Finding]:
    """See whether the API server answers."""
    try:
        version = await kubectl.get("/version")
    except CliError as error:
        yield fault(str(error), "kubectl get namespaces must work first")
        return
    yield ok(f"Kubernetes {version['gitVersion']}")


async def definition(kubectl: Kubectl, _: RedisAccess, __: Installation) -> AsyncIterator[Finding]:
    """See whether ArkAgents are known, and whether they can be scaled."""
    try:
        served = await kubectl.get(AGENTS_API)
    except NotThere:
        yield fault("the API server does not know ArkAgents", _INSTALL)
        return
    names = {resource["name"] for resource in served["resources"]}
    for part, lost in (("scale", "kubectl scale does not work"), ("status", "the operator cannot say anything")):
        if f"{PLURAL}/{part}" not in names:
            yield fault(
                f"ArkAgents have no /{part}: {lost}", "upgrade the definition: helm upgrade with crd.install=true"
            )
    try:
        conditions = (await kubectl.get(_DEFINITION))["status"]["conditions"]
    except Forbidden:
        yield ok("ArkAgents are known")
        return
    bad = [one for one in conditions if one["type"] in ("Established", "NamesAccepted") and one["status"] != "True"]
    for one in bad:
        yield fault(
            f"the definition of ArkAgents is not {one['type']}: {one.get('message', '')}", "see kubectl describe crd"
        )
    if not bad:
        yield ok("ArkAgents are known, with /scale and /status")


async def operator(kubectl: Kubectl, _: RedisAccess, installation: Installation) -> AsyncIterator[Finding]:
    """See whether an operator runs, and one leads."""
    async for finding in _running(
        installation, "operator", "pools keep their size, and only the workers enforce budgets"
    ):
        yield finding
    for deployment in installation.component("operator"):
        async for finding in _leader(kubectl, deployment, installation):
            yield finding


async def scaler(_: Kubectl, __: RedisAccess, installation: Installation) -> AsyncIterator[Finding]:
    """See whether a scaler runs."""
    async for finding in _running(installation, "scaler", "KEDA keeps pools at their size, and wakes none"):
        yield finding


async def _running(installation: Installation, component: str, lost: str) -> AsyncIterator[Finding]:
    if installation.hidden:
        yield unknown(installation.hidden)
        return
    found = installation.component(component)
    if not found:
        yield fault(
            f"there is no {component} (no Deployment with the chart's labels)", f"install the chart: {_INSTALL}"
        )
    for deployment in found:
        metadata, status = deployment["metadata"], deployment.get("status") or {}
        wanted, ready = deployment["spec"].get("replicas", 1), status.get("readyReplicas", 0)
        described = f"kubectl -n {metadata['namespace']} describe pods -l app.kubernetes.io/component={component}"
        if not ready:
            yield fault(f"{place(deployment)}: 0 of {wanted} ready: {lost}", f"{described}; and the Pods' logs")
        elif ready < wanted:
            yield warning(f"{place(deployment)}: {ready} of {wanted} ready", described)
        else:
            yield ok(f"{place(deployment)}: {ready} of {wanted} ready")
    if len(found) > 1 and component == "operator":
        spaces = {one["metadata"]["namespace"] for one in found}
        if len(spaces) > 1:
            names = ", ".join(map(place, found))
            yield warning(
                f"several operators: {names}; two that watch the same namespace work against each other",
                "give each its watchNamespace, or uninstall all but one",
            )


async def _leader(kubectl: Kubectl, deployment: Object, installation: Installation) -> AsyncIterator[Finding]:
    namespace, name = deployment["metadata"]["namespace"], deployment["metadata"]["name"]
    logs = f"see its logs: kubectl -n {namespace} logs deployment/{name}"
    try:
        lease = await read_lease(kubectl, namespace, "ark-operator", installation.now)
    except NotThere:
        yield fault("no operator has ever led", logs)
        return
    except CliError as error:
        yield unknown(f"who leads: {error}")
        return
    if not lease.holder or lease.age_seconds > 2 * lease.seconds:
        last = f"; the last leader was {lease.holder}" if lease.holder else ""
        yield fault(f"no operator has led for {lease.age_seconds:.0f} s{last}", logs)
    else:
        yield ok(f"{lease.holder} leads")
