"""The wire contract and its generated code."""

from __future__ import annotations

from pathlib import Path

import pytest

from ark_scaler.wire import externalscaler_pb2 as wire
from hack import protos


def test_generating_again_changes_nothing(tmp_path: Path) -> None:
    for fresh in protos.generate(tmp_path):
        committed = protos.GENERATED / fresh.name
        assert fresh.read_text() == committed.read_text(), f"{fresh.name} is not what `make protos` makes"


@pytest.mark.parametrize(
    ("message", "fields"),
    [
        ("ScaledObjectRef", {"name": 1, "namespace": 2, "scalerMetadata": 3}),
        ("IsActiveResponse", {"result": 1}),
        ("GetMetricSpecResponse", {"metricSpecs": 1}),
        ("MetricSpec", {"metricName": 1, "targetSize": 2, "targetSizeFloat": 3}),
        ("GetMetricsRequest", {"scaledObjectRef": 1, "metricName": 2}),
        ("GetMetricsResponse", {"metricValues": 1}),
        ("MetricValue", {"metricName": 1, "metricValue": 2, "metricValueFloat": 3}),
    ],
)
def test_fields_have_kedas_numbers(message: str, fields: dict[str, int]) -> None:
    descriptor = wire.DESCRIPTOR.message_types_by_name[message]
    assert {field.name: field.number for field in descriptor.fields} == fields


def test_the_service_has_kedas_name_and_calls() -> None:
    service = wire.DESCRIPTOR.services_by_name["ExternalScaler"]
    assert service.full_name == "externalscaler.ExternalScaler"
    assert [method.name for method in service.methods] == [
        "IsActive",
        "StreamIsActive",
        "GetMetricSpec",
        "GetMetrics",
        "StreamMetricSpec",
    ]
