"""The operator's own manifests, as they lie in its package, for whatever namespace they are installed in."""

from __future__ import annotations

from importlib import resources
from typing import Any

import yaml

Object = dict[str, Any]

NAMESPACE = "ark-system"
ACCOUNT = "ark-operator"
_PACKAGE = resources.files("ark_operator")


def crd() -> Object:
    """Answer the definition of ArkAgents."""
    found: Object = yaml.safe_load((_PACKAGE / "crd" / "arkagents.yaml").read_text())
    return found


def rbac(namespace: str = NAMESPACE, *, only: bool = False) -> list[Object]:
    """Answer ServiceAccount, roles and bindings.

    Args:
        namespace: where the operator is.
        only: whether it looks at its own namespace only; then its rights end there.
    """
    found = yaml.safe_load_all((_PACKAGE / "rbac.yaml").read_text())
    return [_placed(item, namespace, only=only) for item in found]


def _placed(item: Object, namespace: str, *, only: bool) -> Object:
    metadata = item["metadata"]
    if metadata.get("namespace") == NAMESPACE:
        metadata["namespace"] = namespace
    elif "namespace" in metadata and namespace != NAMESPACE and item["kind"] == "RoleBinding":
        metadata["name"] = f"{metadata['name']}-{namespace}"  # beside those of other installations
    for subject in item.get("subjects", []):
        subject["namespace"] = namespace
    if item["kind"] == "ClusterRoleBinding" and only:
        item["kind"] = "RoleBinding"
        metadata["namespace"] = namespace
    return item
