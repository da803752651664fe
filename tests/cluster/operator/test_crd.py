"""The ArkAgent resource on a real API server: what it accepts, refuses, fills in and shows."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from hack.cluster import operator_manifests
from hack.cluster.kubectl import Kubectl, KubectlFailed
from tests.cluster.operator.conftest import running

FILE = operator_manifests.CRD


@pytest.fixture(scope="module")
def kubectl(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kubectl]:
    """kubectl, on an API server that has the resource."""
    with running(tmp_path_factory.mktemp("crd")) as server:
        kubectl = server.control_plane.kubectl
        kubectl.run("apply", "--server-side", "-f", "-", stdin=FILE.read_text())
        kubectl.run("wait", "--for=condition=Established", "--timeout=60s", "crd/arkagents.arkonis.dev")
        yield kubectl


def agent(name: str = "writer", **spec: Any) -> dict[str, Any]:
    return operator_manifests.agent("default", name, **{"model": "m", "systemPrompt": "p", **spec})


def stored(kubectl: Kubectl, item: dict[str, Any]) -> dict[str, Any]:
    """Return what the API server would store."""
    text = kubectl.run(
        "create", "--dry-run=server", "--validate=strict", "-o", "json", "-f", "-", stdin=json.dumps(item)
    )
    answer: dict[str, Any] = json.loads(text)
    return answer


def test_an_arkonis_manifest_is_accepted_with_every_field_kept(kubectl: Kubectl) -> None:
    """The fields of the public arkonis operator's resource."""
    spec: dict[str, Any] = {
        "replicas": 2,
        "limits": {"maxTokensPerCall": 8000, "maxConcurrentTasks": 4, "timeoutSeconds": 60, "maxDailyTokens": 500_000},
        "systemPromptRef": {"configMapKeyRef": {"name": "prompt", "key": "system.txt"}},
        "livenessProbe": {"type": "semantic", "intervalSeconds": 60, "validatorPrompt": "Reply with one word"},
        "tools": [
            {"name": "news", "url": "http://news.example/x", "method": "GET", "description": "d", "inputSchema": "{}"}
        ],
        "mcpServers": [{"name": "search", "url": "http://search.example/sse"}],
        "configRef": {"name": "shared"},
        "memoryRef": {"name": "memory"},
    }
    kept = stored(kubectl, agent(**spec))["spec"]
    assert {name: kept[name] for name in spec if name != "limits"} == {k: v for k, v in spec.items() if k != "limits"}
    assert kept["limits"] == {**spec["limits"], "maxRetries": 3}


def test_what_is_left_out_gets_its_default_and_replicas_gets_none(kubectl: Kubectl) -> None:
    spec = stored(kubectl, agent(autoscaling={}, queue={}))["spec"]
    assert spec["limits"] == {"maxConcurrentTasks": 5, "maxTokensPerCall": 8000, "timeoutSeconds": 120, "maxRetries": 3}
    numbers = {"minReplicas": 0, "maxReplicas": 10, "cooldownSeconds": 300}
    assert spec["autoscaling"] == {**numbers, "burst": True, "sizing": "Adaptive"}
    assert spec["queue"] == {"group": "agent-workers", "redis": "default"}
    assert "replicas" not in spec, "a default could not be told from a person's number"


def test_a_template_and_a_behaviour_are_kept_as_they_are(kubectl: Kubectl) -> None:
    template = {
        "metadata": {"labels": {"team": "a"}},
        "spec": {"nodeSelector": {"gpu": "no"}, "anything": [1, {"x": 2}]},
    }
    behavior = {"scaleDown": {"stabilizationWindowSeconds": 60, "policies": [{"type": "Pods", "value": 1}]}}
    spec = stored(kubectl, agent(template=template, autoscaling={"behavior": behavior}))["spec"]
    assert (spec["template"], spec["autoscaling"]["behavior"]) == (template, behavior)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"systemPrompt": None}, "at least one of systemPrompt or systemPromptRef must be set"),
        ({"systemPromptRef": {}}, "systemPromptRef must have a configMapKeyRef or a secretKeyRef"),
        ({"model": ""}, "spec.model: Invalid value"),
        ({"replicas": -1}, "spec.replicas in body should be greater than or equal to 0"),
        ({"replicas": 51}, "spec.replicas in body should be less than or equal to 50"),
        (
            {"limits": {"maxConcurrentTasks": 0}},
            "spec.limits.maxConcurrentTasks in body should be greater than or equal to 1",
        ),
        ({"limits": {"maxDailyTokens": -5}}, "spec.limits.maxDailyTokens in body should be greater than or equal to 1"),
        (
            {"limits": {"maxDailyTokens": 100}},
            "maxTokensPerCall must be at most maxDailyTokens: else no call would ever fit",
        ),
        (
            {"autoscaling": {"minReplicas": 5, "maxReplicas": 2}},
            "autoscaling.minReplicas must be at most autoscaling.maxReplicas",
        ),
        (
            {"autoscaling": {"schedule": [{"start": "0 8 * * *", "end": "0 8 * * *", "minReplicas": 1}]}},
            "start and end of a schedule must differ",
        ),
        (
            {"autoscaling": {"schedule": [{"start": "at eight", "end": "0 18 * * *", "minReplicas": 1}]}},
            "spec.autoscaling.schedule[0].start in body should match",
        ),
        (
            {"autoscaling": {"targetWaitSeconds": 0}},
            "spec.autoscaling.targetWaitSeconds in body should be greater than 0",
        ),
        ({"autoscaling": {"maxReplica": 2}}, 'unknown field "spec.autoscaling.maxReplica"'),
        ({"template": []}, "spec.template"),
        ({"queue": {"redis": "redis://x"}}, "spec.queue.redis in body should match"),
    ],
)
def test_a_bad_spec_is_refused_with_the_field_and_what_is_allowed(
    kubectl: Kubectl, spec: dict[str, Any], message: str
) -> None:
    with pytest.raises(KubectlFailed) as caught:
        stored(kubectl, agent(**spec))
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("name", "autoscaled", "message"),
    [
        ("a" * 54, True, None),
        ("a" * 55, True, "metadata.name must have at most 54 characters where autoscaling is on"),
        ("a" * 63, False, None),
        ("a" * 64, False, "metadata.name must have at most 63 characters"),
    ],
)
def test_a_name_must_fit_its_childrens(kubectl: Kubectl, name: str, autoscaled: bool, message: str | None) -> None:
    item = agent(name, **({"autoscaling": {}} if autoscaled else {}))
    if message is None:
        stored(kubectl, item)
        return
    with pytest.raises(KubectlFailed) as caught:
        stored(kubectl, item)
    assert message in str(caught.value)


def test_people_scale_it_and_take_their_number_back(kubectl: Kubectl) -> None:
    kubectl.apply([agent("scaled", autoscaling={})])
    try:
        kubectl.run("scale", "arkagent", "scaled", "--replicas=3")
        assert kubectl.get("arkagent", "scaled")["spec"]["replicas"] == 3
        status = {
            "replicas": 2,
            "readyReplicas": 1,
            "selector": "app=scaled",
            "mode": "Pinned",
            "queue": {"waiting": 7},
        }
        kubectl.run(
            "patch", "ark", "scaled", "--subresource=status", "--type=merge", "-p", json.dumps({"status": status})
        )
        scale = json.loads(
            kubectl.run("get", "--raw", "/apis/arkonis.dev/v1alpha1/namespaces/default/arkagents/scaled/scale")
        )
        assert (scale["spec"], scale["status"]) == ({"replicas": 3}, {"replicas": 2, "selector": "app=scaled"})
        [line] = kubectl.run("get", "ark", "scaled", "--no-headers").splitlines()
        assert line.split()[:6] == ["scaled", "m", "Pinned", "2", "1", "7"]
        kubectl.run("patch", "arkagent", "scaled", "--type=merge", "-p", '{"spec": {"replicas": null}}')
        assert "replicas" not in kubectl.get("arkagent", "scaled")["spec"]
    finally:
        kubectl.run("delete", "arkagent", "scaled")


def fields(schema: dict[str, Any], path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield every field of a schema, with its path."""
    for name, field in schema.get("properties", {}).items():
        yield f"{path}.{name}", field
        yield from fields(field, f"{path}.{name}")
    if "items" in schema:
        yield f"{path}[]", schema["items"]
        yield from fields(schema["items"], f"{path}[]")


def test_every_field_says_what_it_does(kubectl: Kubectl) -> None:
    """``kubectl explain`` is the reference."""
    [version] = yaml.safe_load(FILE.read_text())["spec"]["versions"]
    undescribed = [path for path, field in fields(version["schema"]["openAPIV3Schema"]) if not field.get("description")]
    assert undescribed == [".metadata"], "whose description is the API server's own"
    shown = kubectl.run("explain", "arkagent.spec.autoscaling.pinSeconds")
    assert "How long a size set by hand holds" in shown
