"""Whether the operator, and the person who asks, may do what they need to."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from ark_api.names import API_GROUP, PLURAL
from ark_cli.checks.finding import Finding, fault, ok, unknown, warning
from ark_cli.checks.installation import Installation, place, variables
from ark_cli.errors import CliError
from ark_cli.kubectl import Kubectl, Object
from ark_cli.redis_access import RedisAccess

OPERATORS: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    (API_GROUP, PLURAL, ("list", "watch", "patch")),
    (API_GROUP, f"{PLURAL}/status", ("patch",)),
    ("apps", "deployments", ("get", "list", "watch", "create", "patch")),
    ("apps", "deployments/scale", ("patch",)),
    ("keda.sh", "scaledobjects", ("list", "watch", "create", "patch", "delete")),
    ("autoscaling", "horizontalpodautoscalers", ("list", "watch")),
    ("", "events", ("create",)),
)
"""Group, resource and verbs that the operator needs in each namespace that it looks after."""
_YOURS = (
    (API_GROUP, PLURAL, "list", "status, top and budget do not work"),
    (API_GROUP, PLURAL, "patch", "pin, auto and budget --limit do not work"),
    ("apps", "deployments", "get", "Redis must be named by --redis-url"),
    ("", "pods/portforward", "create", "a Redis in the cluster must be named by --redis-url"),
)


async def operators(kubectl: Kubectl, _: RedisAccess, installation: Installation) -> AsyncIterator[Finding]:
    """Ask the API server about each of the operator's rights."""
    if installation.hidden:
        yield unknown(installation.hidden)
    for deployment in installation.component("operator"):
        namespace = deployment["metadata"]["namespace"]
        account = deployment["spec"]["template"]["spec"].get("serviceAccountName", "default")
        watched = variables(deployment, "operator").get("ARK_OPERATOR_WATCH_NAMESPACE") or None
        user = f"system:serviceaccount:{namespace}:{account}"
        asked = [_attributes(group, resource, verb, watched) for group, resource, verbs in OPERATORS for verb in verbs]
        asked += [
            _attributes("coordination.k8s.io", "leases", verb, namespace, "ark-operator") for verb in ("get", "patch")
        ]
        reviews = [
            {
                "apiVersion": "authorization.k8s.io/v1",
                "kind": "SubjectAccessReview",
                "spec": {"user": user, "groups": [f"system:serviceaccounts:{namespace}"], "resourceAttributes": one},
            }
            for one in asked
        ]
        try:
            answers = await kubectl.create(reviews)
        except CliError as error:
            yield unknown(f"the rights of {place(deployment)}: {error}")
            continue
        refused = [_said(one) for one, answer in zip(asked, answers, strict=True) if not answer["status"]["allowed"]]
        if refused:
            yield fault(
                f"{user} may not {', '.join(refused)}",
                "helm upgrade with operator.rbac.create=true, or grant it (docs/operations/security.md has the list)",
            )
        else:
            yield ok(f"{user} has all {len(asked)} that it needs")


async def yours(kubectl: Kubectl, _: RedisAccess, __: Installation) -> AsyncIterator[Finding]:
    """Ask the API server about the caller's rights in the namespace."""
    namespace = await kubectl.namespace()
    asked = [_attributes(group, resource, verb, namespace) for group, resource, verb, _ in _YOURS]
    reviews = [
        {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SelfSubjectAccessReview",
            "spec": {"resourceAttributes": one},
        }
        for one in asked
    ]
    answers = await kubectl.create(reviews)
    missing = False
    for one, answer, (*_rest, lost) in zip(asked, answers, _YOURS, strict=True):
        if not answer["status"]["allowed"]:
            missing = True
            yield warning(f"you may not {_said(one)} in namespace {namespace}: {lost}")
    if not missing:
        yield ok(f"you have all that kubectl ark needs in namespace {namespace}")


def _attributes(group: str, resource: str, verb: str, namespace: str | None, name: str | None = None) -> Object:
    kind, _, part = resource.partition("/")
    asked: dict[str, Any] = {"group": group, "resource": kind, "verb": verb}
    if part:
        asked["subresource"] = part
    if namespace is not None:
        asked["namespace"] = namespace
    if name is not None:
        asked["name"] = name
    return asked


def _said(asked: Object) -> str:
    part = f"/{asked['subresource']}" if "subresource" in asked else ""
    group = f".{asked['group']}" if asked["group"] else ""
    return f"{asked['verb']} {asked['resource']}{part}{group}"
