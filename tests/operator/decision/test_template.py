"""Merging templates, and telling whether an object already is as it should be."""

from __future__ import annotations

from typing import Any

import pytest

from ark_operator.decision.matches import matches
from ark_operator.decision.template import InvalidTemplate, merge

BASE: dict[str, Any] = {
    "labels": {"a": "1"},
    "grace": 5,
    "args": ["x", "y"],
    "containers": [{"name": "agent", "image": "i", "env": [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}]}],
}


@pytest.mark.parametrize(
    ("patch", "merged"),
    [
        ({}, BASE),
        ({"labels": {"b": "2"}}, {**BASE, "labels": {"a": "1", "b": "2"}}),
        ({"labels": {"a": None}}, {**BASE, "labels": {}}),
        ({"labels": {"$patch": "replace", "b": "2"}}, {**BASE, "labels": {"b": "2"}}),
        ({"grace": 9, "new": {"x": None, "y": 1}}, {**BASE, "grace": 9, "new": {"x": None, "y": 1}}),
        ({"args": ["z"]}, {**BASE, "args": ["z"]}),
        (
            {"containers": [{"name": "b", "image": "j"}]},
            {**BASE, "containers": [*BASE["containers"], {"name": "b", "image": "j"}]},
        ),
        ({"containers": [{"name": "agent", "$patch": "delete"}]}, {**BASE, "containers": []}),
        (
            {"containers": [{"name": "agent", "env": [{"name": "B", "valueFrom": {"x": "y"}}]}]},
            {
                **BASE,
                "containers": [
                    {
                        "name": "agent",
                        "image": "i",
                        "env": [{"name": "A", "value": "1"}, {"name": "B", "valueFrom": {"x": "y"}}],
                    }
                ],
            },
        ),
    ],
)
def test_what_a_template_makes(patch: dict[str, Any], merged: dict[str, Any]) -> None:
    before = repr(BASE)
    assert merge(BASE, patch, "t") == merged
    assert repr(BASE) == before


def test_two_ports_of_one_number_and_two_constraints_of_one_key_stay_two() -> None:
    ports = [{"containerPort": 53, "protocol": "UDP"}, {"containerPort": 53}]
    merged = merge({"ports": [{"containerPort": 53, "name": "dns"}]}, {"ports": ports}, "t")
    assert merged["ports"] == [{"containerPort": 53, "name": "dns"}, {"containerPort": 53, "protocol": "UDP"}]
    constraints = [{"topologyKey": "zone", "whenUnsatisfiable": when} for when in ("DoNotSchedule", "ScheduleAnyway")]
    patch = {"topologySpreadConstraints": constraints}
    assert merge({}, patch, "t") == patch


@pytest.mark.parametrize(
    ("patch", "message"),
    [
        ({"containers": [{"name": {"a": 1}}]}, r"t.containers\[0\].name must be set to identify the item"),
        ([], "t must be a map of fields, and is a list"),
        ({"labels": "x"}, "t.labels must be a map of fields, and is the text 'x'"),
        ({"containers": {}}, "t.containers must be a list, and is a map"),
        ({"containers": ["x"]}, r"t.containers\[0\] must be a map of fields, and is the text 'x'"),
        ({"containers": [{"image": "x"}]}, r"t.containers\[0\].name must be set to identify"),
        ({"args": 5}, "t.args must be a list, and is 5"),
    ],
)
def test_a_template_of_another_shape_is_refused_with_the_field(patch: Any, message: str) -> None:
    with pytest.raises(InvalidTemplate, match=message):
        merge(BASE, patch, "t")


@pytest.mark.parametrize(
    ("observed", "desired", "covered"),
    [
        ({"a": 1, "defaulted": 2}, {"a": 1}, True),
        ({"a": 1}, {"a": 2}, False),
        ({}, {"a": 1}, False),
        ({}, {"a": {}, "b": [], "c": ""}, True),
        ({"a": [1, 2]}, {"a": [1]}, False),
        ({"a": [{"x": 1, "y": 2}]}, {"a": [{"x": 1}]}, True),
        ({"env": [{"name": "B"}, {"name": "A", "value": "1"}]}, {"env": [{"name": "A", "value": "1"}]}, True),
        ({"env": [{"name": "B"}]}, {"env": [{"name": "A"}]}, False),
        ({"cpu": "1"}, {"cpu": "1000m"}, True),
        ({"memory": "1Gi"}, {"memory": "1024Mi"}, True),
        ({"memory": "1G"}, {"memory": "1Gi"}, False),
        ({"cpu": "500m"}, {"cpu": 0.5}, True),
        ({"size": "1E"}, {"size": "1e18"}, True),
        ({"a": True}, {"a": 1}, True),
        ({}, {"hostNetwork": False, "initialDelaySeconds": 0, "readOnly": False}, True),
        ({"a": True}, {"a": False}, False),
        ({"ownerReferences": [{"uid": "x"}, {"uid": "y"}]}, {"ownerReferences": [{"uid": "y"}]}, True),
        ({"a": "x"}, {"a": {"b": 1}}, False),
        ({"containers": "x"}, {"containers": [{"name": "a"}]}, False),
    ],
)
def test_whether_all_that_is_desired_is_there(observed: Any, desired: Any, covered: bool) -> None:
    assert matches(observed, desired) is covered
