"""What the programs take for granted is what the resource's definition, the settings and the scaler have."""

from __future__ import annotations

from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

import pytest
import yaml

from ark_agent.settings import AgentSettings
from ark_api import names, variables
from ark_api.agent import AUTOSCALING, DEFAULT_TIME_ZONE, LIMITS, Agent, Autoscaling, Limits
from ark_api.status import ConditionType, Mode
from ark_api.trigger import LARGEST_NUMBER
from ark_taskqueue import DEFAULT_CONNECTION, DEFAULT_GROUP

CRD = Path(__file__).resolve().parents[2] / "charts" / "ark" / "files" / "arkagents.yaml"


@pytest.fixture(scope="module")
def schema() -> Any:
    [version] = yaml.safe_load(CRD.read_text())["spec"]["versions"]
    return version["schema"]["openAPIV3Schema"]["properties"]


@pytest.mark.parametrize(
    ("block", "known", "made"), [("limits", LIMITS, Limits), ("autoscaling", AUTOSCALING, Autoscaling)]
)
def test_every_field_of_a_block_has_the_definitions_default(
    schema: Any, block: str, known: dict[str, str], made: Any
) -> None:
    declared = schema["spec"]["properties"][block]["properties"]
    assert set(declared) == set(known)
    defaults = {field.name: field.default for field in fields(made)}
    for name, field in known.items():
        if field in ("tasks_per_replica", "behavior", "schedule"):  # none, or it depends on the others
            assert "default" not in declared[name]
            continue
        default = defaults[field]
        assert default is not MISSING
        assert declared[name].get("default") == default, name


def test_the_bounds_of_tokens_are_the_triggers(schema: Any) -> None:
    limits = schema["spec"]["properties"]["limits"]["properties"]
    for name in ("maxTokensPerCall", "maxDailyTokens"):
        assert (limits[name]["minimum"], limits[name]["maximum"]) == (1, LARGEST_NUMBER)


def test_a_schedule_without_a_time_zone_has_the_definitions(schema: Any) -> None:
    time = schema["spec"]["properties"]["autoscaling"]["properties"]["schedule"]["items"]["properties"]
    assert time["timeZone"]["default"] == DEFAULT_TIME_ZONE


def test_modes_are_those_of_the_definition(schema: Any) -> None:
    assert schema["status"]["properties"]["mode"]["enum"] == [str(mode) for mode in Mode]


def test_names_of_the_queue_have_one_default(schema: Any) -> None:
    queue = schema["spec"]["properties"]["queue"]["properties"]
    assert queue["group"]["default"] == names.DEFAULT_GROUP == DEFAULT_GROUP
    assert queue["redis"]["default"] == names.DEFAULT_REDIS == DEFAULT_CONNECTION


def test_the_resource_is_the_definitions() -> None:
    spec = yaml.safe_load(CRD.read_text())["spec"]
    assert f"{spec['group']}/{spec['versions'][0]['name']}" == names.API_VERSION
    assert (spec["names"]["kind"], spec["names"]["plural"]) == (names.KIND, names.PLURAL)


def test_every_variable_is_a_setting_of_the_worker() -> None:
    known = {f"{variables.PREFIX}{name}".upper() for name in AgentSettings.model_fields}
    declared = {
        value
        for name, value in vars(variables).items()
        if name.isupper() and isinstance(value, str) and value.startswith(variables.PREFIX) and name != "PREFIX"
    }
    assert declared >= variables.FIXED
    assert declared <= known


def test_an_absent_field_is_the_default_and_null_is_absent() -> None:
    made = Agent({"metadata": {}, "spec": {"limits": {"maxRetries": None}, "autoscaling": {"burst": False}}})
    assert made.limits == Limits()
    assert made.autoscaling == Autoscaling(tasks_per_replica=3, burst=False)


def test_condition_types_are_unlike_each_other() -> None:
    assert len(set(ConditionType)) == 4
