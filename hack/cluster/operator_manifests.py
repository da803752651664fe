"""The operator's manifests, as the chart and its package have them, for whatever namespace they are installed in."""

from __future__ import annotations

import time
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any

import yaml

from ark_api.names import API_VERSION, KIND
from ark_operator.cluster.kinds import ARK_AGENTS, SCALED_OBJECTS
from hack.cluster import manifests, programs
from hack.cluster.control_plane import ControlPlane
from hack.cluster.kubectl import Kubectl, KubectlFailed

Object = dict[str, Any]

NAMESPACE = "ark-system"
ACCOUNT = "ark-operator"
_PACKAGE = resources.files("ark_operator")
CRD = Path(__file__).resolve().parents[2] / "charts" / "ark" / "files" / "arkagents.yaml"
"""The definition of ArkAgents, without what the chart adds to it."""
_SERVED_SECONDS = 60.0
_PAUSE_SECONDS = 0.1


def crd() -> Object:
    """Return the definition of ArkAgents."""
    found: Object = yaml.safe_load(CRD.read_text())
    return found


def rbac(namespace: str = NAMESPACE, *, only: bool = False) -> list[Object]:
    """Return ServiceAccount, roles and bindings.

    Args:
        namespace: where the operator is.
        only: whether it looks at its own namespace only; then its rights end there.
    """
    found = yaml.safe_load_all((_PACKAGE / "rbac.yaml").read_text())
    return [_placed(item, namespace, only=only) for item in found]


def deployment(
    namespace: str, redis_url: str, scaler_address: str, *, replicas: int = 1, settings: Mapping[str, str] | None = None
) -> Object:
    """Return the operator's Deployment.

    Args:
        namespace: where it is.
        redis_url: what it and its agents reach Redis by.
        scaler_address: what KEDA reaches the scaler by.
        replicas: its size; one of them leads.
        settings: further flags of ``ark-operator``.
    """
    flags = {
        "image": manifests.IMAGE,
        "namespace": namespace,
        "redis": redis_url,
        "scaler-address": scaler_address,
        **(settings or {}),
    }
    container: Object = {
        "image": manifests.IMAGE,
        "command": ["ark-operator"],
        "args": [f"--{name}={value}" for name, value in flags.items()],
        "ports": [{"name": "http", "containerPort": 8080}],
        "readinessProbe": {"httpGet": {"path": "/readyz", "port": "http"}, "periodSeconds": 1, "timeoutSeconds": 10},
        "livenessProbe": {
            "httpGet": {"path": "/healthz", "port": "http"},
            "timeoutSeconds": 10,
            "initialDelaySeconds": 20,
        },
    }
    pod = {"serviceAccountName": ACCOUNT, "automountServiceAccountToken": True}
    return manifests.deployment(namespace, ACCOUNT, container, replicas=replicas, **pod)


def agent(namespace: str, name: str, **spec: Any) -> Object:
    """Return an ArkAgent."""
    return {
        "apiVersion": API_VERSION,
        "kind": KIND,
        "metadata": {"name": name, "namespace": namespace},
        "spec": spec,
    }


def user(namespace: str = NAMESPACE) -> str:
    """Return the name that the operator's ServiceAccount has for the API server."""
    return f"system:serviceaccount:{namespace}:{ACCOUNT}"


def install(control_plane: ControlPlane, *, keda: bool = True) -> None:
    """Install the definitions of ArkAgents and of KEDA's objects."""
    kubectl = control_plane.kubectl
    kubectl.apply([crd(), manifests.namespace("keda")])
    if keda:
        install_keda(control_plane)
    kubectl.run("wait", "--for=condition=Established", "--timeout=60s", "crd", "--all")
    # An established definition is served a moment later; an operator that starts meanwhile goes on without KEDA.
    for kind in (ARK_AGENTS, SCALED_OBJECTS) if keda else (ARK_AGENTS,):
        _wait_until_served(kubectl, kind.path())


def _wait_until_served(kubectl: Kubectl, path: str) -> None:
    deadline = time.monotonic() + _SERVED_SECONDS
    while True:
        try:
            kubectl.run("get", "--raw", path)
        except KubectlFailed:
            if time.monotonic() > deadline:
                raise
            time.sleep(_PAUSE_SECONDS)
        else:
            return


def install_keda(control_plane: ControlPlane) -> None:
    """Install the definitions of KEDA's objects, and no KEDA."""
    folder = programs.ensure((programs.KEDA,)).files(programs.KEDA) / "config" / "crd" / "bases"
    control_plane.kubectl.run("apply", "--server-side", "-f", str(folder / "keda.sh_scaledobjects.yaml"))


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
