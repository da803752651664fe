"""A container's environment: what Kubernetes would make of the same Pod."""

from __future__ import annotations

from typing import Any

import pytest

from hack.cluster.node.environment import (
    MissingReference,
    Sources,
    decoded,
    environment,
    expand,
    referred,
    service_links,
)
from tests.hack.cluster.pods import container, pod

SOURCES = Sources(
    secrets={"keys": {"token": b"s3", "other": b"o"}}, config_maps={"settings": {"MODE": b"fast", "token": b"c"}}
)
IP = "127.64.0.9"


def variables(*env: dict[str, Any], **fields: Any) -> dict[str, str]:
    spec = container(env=list(env), **fields)
    return environment(spec, pod(spec), IP, SOURCES)


def of(source: str, **reference: Any) -> dict[str, Any]:
    return {"name": "X", "valueFrom": {source: reference}}


@pytest.mark.parametrize(
    ("entry", "value"),
    [
        ({"name": "X", "value": "plain"}, "plain"),
        ({"name": "X"}, ""),
        (of("secretKeyRef", name="keys", key="token"), "s3"),
        (of("configMapKeyRef", name="settings", key="MODE"), "fast"),
        (of("fieldRef", fieldPath="metadata.name"), "writer-1"),
        (of("fieldRef", fieldPath="metadata.namespace"), "default"),
        (of("fieldRef", fieldPath="metadata.labels['app']"), "writer"),
        (of("fieldRef", fieldPath="metadata.annotations['team/owner']"), "a"),
        (of("fieldRef", fieldPath="metadata.labels['none']"), ""),
        (of("fieldRef", fieldPath="status.podIP"), IP),
        (of("fieldRef", fieldPath="spec.nodeName"), "process-node"),
        (of("resourceFieldRef", resource="limits.cpu"), "2"),
        (of("resourceFieldRef", resource="limits.cpu", divisor="1m"), "1500"),
        (of("resourceFieldRef", resource="requests.memory", divisor="1Mi"), "64"),
        (of("resourceFieldRef", resource="limits.memory"), "0"),
    ],
)
def test_a_variable_has_the_value_that_its_source_gives(entry: dict[str, Any], value: str) -> None:
    resources = {"limits": {"cpu": "1500m"}, "requests": {"memory": "64Mi"}}
    assert variables(entry, resources=resources)["X"] == value


def test_an_optional_reference_that_is_missing_leaves_the_variable_out() -> None:
    missing = (
        of("secretKeyRef", name="keys", key="none", optional=True),
        of("configMapKeyRef", name="no", key="k", optional=True),
    )
    for entry in missing:
        assert "X" not in variables(entry)


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        (of("secretKeyRef", name="keys", key="none"), "secret 'keys' has no key 'none'"),
        (of("secretKeyRef", name="none", key="token"), "secret 'none' not found"),
        (of("configMapKeyRef", name="none", key="token"), "configMap 'none' not found"),
        (of("fieldRef", fieldPath="metadata.secrets"), "field 'metadata.secrets' is not known"),
    ],
)
def test_a_reference_that_is_missing_is_named(entry: dict[str, Any], message: str) -> None:
    with pytest.raises(MissingReference, match=message.replace("[", r"\[")):
        variables(entry)


def test_whole_objects_come_first_later_ones_win_and_env_wins_over_them() -> None:
    sources = [{"secretRef": {"name": "keys"}}, {"configMapRef": {"name": "settings"}}]
    found = variables(
        {"name": "MODE", "value": "slow"}, envFrom=[*sources, {"prefix": "P_", "secretRef": {"name": "keys"}}]
    )
    assert found == {"token": "c", "other": "o", "MODE": "slow", "P_token": "s3", "P_other": "o"}


def test_a_value_may_name_the_variables_before_it() -> None:
    found = variables(
        {"name": "HOST", "value": "redis"},
        {"name": "URL", "value": "redis://$(HOST):$(PORT)/0"},
        {"name": "PORT", "value": "6379"},
    )
    assert found["URL"] == "redis://redis:$(PORT)/0", "a later one is not known yet and stays as it is"
    assert expand("$$(HOST) costs 5$", {"HOST": "h"}) == "$(HOST) costs 5$"


def test_services_are_told_as_a_kubelet_tells_them_and_the_pods_own_variables_win() -> None:
    services: list[dict[str, Any]] = [
        {
            "metadata": {"name": "ark-scaler"},
            "spec": {"clusterIP": "10.96.0.7", "ports": [{"name": "grpc", "port": 6000}]},
        },
        {"metadata": {"name": "headless"}, "spec": {"clusterIP": "None", "ports": [{"port": 1}]}},
        {"metadata": {"name": "external"}, "spec": {"type": "ExternalName"}},
    ]
    links = service_links(services)
    assert links == {
        "ARK_SCALER_SERVICE_HOST": "10.96.0.7",
        "ARK_SCALER_SERVICE_PORT": "6000",
        "ARK_SCALER_SERVICE_PORT_GRPC": "6000",
        "ARK_SCALER_PORT": "tcp://10.96.0.7:6000",
        "ARK_SCALER_PORT_6000_TCP": "tcp://10.96.0.7:6000",
        "ARK_SCALER_PORT_6000_TCP_PROTO": "tcp",
        "ARK_SCALER_PORT_6000_TCP_PORT": "6000",
        "ARK_SCALER_PORT_6000_TCP_ADDR": "10.96.0.7",
    }
    spec = container(env=[{"name": "ARK_SCALER_PORT", "value": "6001"}])
    assert environment(spec, pod(spec), IP, SOURCES, links)["ARK_SCALER_PORT"] == "6001"


def test_all_references_of_a_pod_are_found() -> None:
    spec = container(
        env=[of("secretKeyRef", name="a", key="k"), of("configMapKeyRef", name="b", key="k")],
        envFrom=[{"secretRef": {"name": "c"}}, {"configMapRef": {"name": "d"}}],
    )
    volumes = [
        {"name": "1", "secret": {"secretName": "e"}},
        {"name": "2", "configMap": {"name": "f"}},
        {"name": "3", "projected": {"sources": [{"secret": {"name": "g"}}, {"configMap": {"name": "h"}}]}},
        {"name": "4", "emptyDir": {}},
    ]
    assert referred(pod(spec, volumes=volumes)) == ({"a", "c", "e", "g"}, {"b", "d", "f", "h"})


def test_data_is_decoded_as_the_kind_has_it() -> None:
    assert decoded({"kind": "Secret", "data": {"a": "aGk="}}) == {"a": b"hi"}
    assert decoded({"kind": "ConfigMap", "data": {"a": "aGk="}, "binaryData": {"b": "aGk="}}) == {
        "a": b"aGk=",
        "b": b"hi",
    }
    assert decoded({"kind": "Secret"}) == {}
