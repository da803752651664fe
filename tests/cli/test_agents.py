"""Why a pool is as it is, and where its Redis is said to be. No cluster."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import yaml

from ark_api.names import MIRROR
from ark_cli import output
from ark_cli.agents import Agent, span
from ark_cli.errors import CliError
from ark_cli.live import Reading
from ark_cli.redis_access import Reference, sources
from ark_cli.status import _facts, as_data

NOW = datetime(2026, 11, 25, 12, 0, 0, tzinfo=UTC)


def condition(kind: str, status: str, reason: str, message: str = "m") -> dict[str, Any]:
    return {"type": kind, "status": status, "reason": reason, "message": message}


def agent(spec: dict[str, Any] | None = None, *conditions: dict[str, Any], **status: Any) -> Agent:
    told = {"observedGeneration": 1, "conditions": list(conditions), **status} if status or conditions else {}
    metadata = {"name": "writer", "namespace": "team", "generation": 1}
    return Agent({"metadata": metadata, "spec": spec or {}, "status": told})


READY = condition("Ready", "True", "AllReplicasReady")
FOLLOWS = condition("Autoscaling", "True", "FollowsQueue")


@pytest.mark.parametrize(
    ("of", "reason", "is_bad"),
    [
        (agent(), "NotSeen", True),
        (agent({}, READY, mode="Static", observedGeneration=0), "NotSeen", False),
        (agent({}, READY, condition("Autoscaling", "False", "Disabled"), mode="Static"), "Fixed", False),
        (agent({"autoscaling": {}}, READY, FOLLOWS, mode="Auto"), "FollowsQueue", False),
        (agent({}, condition("Ready", "False", "Progressing"), FOLLOWS, mode="Auto"), "Progressing", False),
        (agent({}, condition("Ready", "False", "NameTaken"), FOLLOWS, mode="Auto"), "NameTaken", True),
        (agent({}, READY, condition("Autoscaling", "False", "KedaMissing"), mode="Auto"), "KedaMissing", True),
        (agent({}, READY, condition("Autoscaling", "Unknown", "Pending"), mode="Auto"), "Pending", False),
        (
            agent({}, condition("Ready", "False", "BudgetExceeded"), mode="Budget"),
            "BudgetExceeded",
            True,
        ),
        (
            agent({}, READY, condition("Autoscaling", "False", "Pinned"), mode="Pinned", pin={"replicas": 3}),
            "Pinned",
            False,
        ),
    ],
)
def test_what_is_wrong_is_said_first(of: Agent, reason: str, is_bad: bool) -> None:
    why = of.why(NOW)
    assert (why.reason, why.is_bad) == (reason, is_bad)


def test_a_pin_says_how_long_and_how_to_go_back() -> None:
    until = (NOW + timedelta(minutes=90)).strftime("%Y-%m-%dT%H:%M:%SZ")
    of = agent({}, READY, mode="Pinned", pin={"replicas": 3, "until": until})
    assert of.why(NOW).message == "pinned by hand to 3 (1h30m left); unpin: kubectl ark auto writer"


@pytest.mark.parametrize(
    ("replicas", "annotation", "is_pinned"),
    [(3, "3", False), (3, "4", True), (3, None, True), (0, None, True), (None, "3", False), (None, None, False)],
)
def test_a_number_is_a_persons_unless_the_operator_wrote_it(
    replicas: int | None, annotation: str | None, is_pinned: bool
) -> None:
    """As the operator has it, whatever its status says so far."""
    annotations = {} if annotation is None else {MIRROR: annotation}
    spec: dict[str, Any] = {"autoscaling": {}, **({} if replicas is None else {"replicas": replicas})}
    item = {"metadata": {"name": "writer", "namespace": "team", "annotations": annotations}, "spec": spec}
    assert (Agent(item).persons_number is not None) is is_pinned


def test_nothing_is_wanted_while_the_budget_is_used_up() -> None:
    assert agent({"replicas": 4}, mode="Budget").wanted == 0
    assert agent({"replicas": 4}, mode="Pinned").wanted == 4


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(-3, "0s"), (0.4, "0s"), (43, "43s"), (130, "2m10s"), (10_800, "3h"), (10_801, "3h"), (187_200, "2d4h")],
)
def test_times_are_said_in_two_units(seconds: float, text: str) -> None:
    assert span(seconds) == text


def test_a_stream_that_cannot_be_is_said_with_the_agents_name() -> None:
    with pytest.raises(CliError, match="team/writer"):
        _ = agent({"queue": {"stream": "a b"}}).queue


def deployment(**container: Any) -> dict[str, Any]:
    containers = [{"name": "sidecar", "env": [{"name": "AGENT_REDIS", "value": "no"}]}, {"name": "agent", **container}]
    return {"spec": {"template": {"spec": {"containers": containers}}}}


def test_redis_is_looked_for_as_a_kubelet_does() -> None:
    env = [
        {"name": "AGENT_REDIS", "value": "redis://$$(x)"},
        {"name": "OTHER", "value": "x"},
        {"name": "AGENT_REDIS", "valueFrom": {"secretKeyRef": {"name": "one", "key": "url"}}},
    ]
    env_from = [
        {"secretRef": {"name": "two"}},
        {"prefix": "AGENT_", "configMapRef": {"name": "three"}},
        {"prefix": "OTHER_", "secretRef": {"name": "four"}},
    ]
    assert list(sources(deployment(env=env, envFrom=env_from))) == [
        Reference(True, "one", "url"),
        "redis://$(x)",
        Reference(False, "three", "REDIS"),
        Reference(True, "two", "AGENT_REDIS"),
    ]
    assert list(sources(deployment())) == []


@pytest.mark.parametrize(
    "of",
    [
        agent({"autoscaling": {}}, READY, FOLLOWS, mode="Auto"),
        agent({}, READY, mode="Pinned", pin={"replicas": 3}),
        agent({"limits": {"maxDailyTokens": 10_000}}, mode="Budget", dailyTokenUsage={"totalTokens": 1}),
    ],
    ids=lambda of: of.mode,
)
@pytest.mark.parametrize("kind", ["json", "yaml"])
def test_programs_get_every_mode_and_reason_as_a_string(
    of: Agent, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    output.emit(as_data(of, Reading(), NOW), kind)
    said = capsys.readouterr().out
    content = json.loads(said) if kind == "json" else yaml.safe_load(said)
    assert (content["mode"], content["why"]["reason"]) == (of.mode, str(of.why(NOW).reason))


def test_a_sizing_is_shown_with_its_age_and_what_is_expected_of_it() -> None:
    sizing = {
        "mode": "Adaptive",
        "reserve": 1.5,
        "patienceSeconds": 15.0,
        "since": (NOW - timedelta(hours=2)).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "expectedWaitSeconds": 1.9,
    }
    of = agent({"autoscaling": {}}, READY, FOLLOWS, mode="Auto", sizing=sizing)
    facts = dict(_facts(of, Reading(), NOW))
    assert facts["Sizing"] == "reserve 1.5, patience 15s for 2h; p95 of the wait 1.9s by the record"
    assert as_data(of, Reading(), NOW)["sizing"] == sizing
    assert "Sizing" not in dict(_facts(agent({}, READY, mode="Static"), Reading(), NOW))
