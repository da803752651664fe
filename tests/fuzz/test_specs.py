"""ArkAgents: whatever the definition lets in is decided on; what the operator tells the scaler, the scaler takes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from ark_operator.decision.agent import Agent
from ark_operator.decision.decide import decide
from ark_operator.decision.observed import Observed
from ark_scaler.decision.trigger import parse
from ark_taskqueue import TokenUsage
from tests.fuzz.corpus import examples, kept
from tests.operator.builders import OPTIONS, depth

_CRD = Path(__file__).resolve().parents[2] / "charts" / "ark" / "files" / "arkagents.yaml"
_SPEC = yaml.safe_load(_CRD.read_text())["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
NOW = datetime(2026, 11, 25, 12, 0, tzinfo=UTC)
_ANYTHING: st.SearchStrategy[Any] = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-5, 10_000), st.text(max_size=8)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(
            st.one_of(
                st.sampled_from(["metadata", "spec", "containers", "name", "env", "labels", "scaleUp", "policies"]),
                st.text(max_size=6),
            ),
            inner,
            max_size=4,
        ),
    ),
    max_leaves=12,
)


def by_schema(schema: Mapping[str, Any]) -> st.SearchStrategy[Any]:  # noqa: PLR0911 - one for each type
    """Return what a schema of the definition lets in."""
    kind = schema.get("type")
    if "enum" in schema:
        return st.sampled_from(schema["enum"])
    if kind == "object" and schema.get("properties"):
        required = set(schema.get("required", ()))
        fields = {name: by_schema(inner) for name, inner in schema["properties"].items()}
        return st.fixed_dictionaries(
            {name: fields[name] for name in fields if name in required},
            optional={name: fields[name] for name in fields if name not in required},
        )
    if kind == "object" and isinstance(schema.get("additionalProperties"), dict):
        return st.dictionaries(st.text(max_size=8), by_schema(schema["additionalProperties"]), max_size=3)
    if kind == "object":
        return st.dictionaries(
            st.sampled_from(["metadata", "spec", "scaleUp", "scaleDown", "x"]), _ANYTHING, max_size=3
        )
    if kind == "array":
        return st.lists(by_schema(schema["items"]), max_size=3)
    if kind == "integer":
        most = 2**31 - 1 if schema.get("format") == "int32" else 2**53
        return st.integers(schema.get("minimum", -(2**31)), schema.get("maximum", most))
    if kind == "number":
        least = schema.get("minimum", 0)
        return st.floats(least, 1e12, exclude_min=bool(schema.get("exclusiveMinimum")), allow_nan=False)
    if kind == "boolean":
        return st.booleans()
    if "pattern" in schema:
        return st.from_regex(schema["pattern"], fullmatch=True)
    return st.text(min_size=schema.get("minLength", 0), max_size=schema.get("maxLength", 20))


def admitted(spec: Mapping[str, Any]) -> bool:
    """Return whether the definition's rules over several fields let a spec in."""
    limits, scaling = spec.get("limits") or {}, spec.get("autoscaling") or {}
    fits = "maxDailyTokens" not in limits or limits.get("maxTokensPerCall", 8000) <= limits["maxDailyTokens"]
    ordered = scaling.get("minReplicas", 0) <= scaling.get("maxReplicas", 10)
    return fits and ordered and ("systemPrompt" in spec or "systemPromptRef" in spec)


def agent(spec: Mapping[str, Any], annotations: Mapping[str, str], status: Mapping[str, Any]) -> Agent:
    metadata = {"name": "writer", "namespace": "team", "uid": "u", "generation": 1, "annotations": dict(annotations)}
    return Agent({"metadata": metadata, "spec": dict(spec), "status": dict(status)})


def check(spec: Mapping[str, Any], annotations: Mapping[str, str], usage: TokenUsage | None) -> None:
    first = decide(agent(spec, annotations, {}), Observed(), usage, NOW, OPTIONS)
    json.dumps(first.status)
    made = first.create
    if made is None:
        assert first.status is not None
        [ready] = [one for one in first.status["conditions"] if one["type"] == "Ready"]
        assert (ready["status"], bool(ready["message"])) == ("False", True)
        return
    assert made["spec"]["replicas"] >= 0
    there = {**made, "metadata": {**made["metadata"], "uid": "d", "generation": 1}}
    status = first.status or {}
    second = decide(
        agent(spec, annotations, status), Observed(deployment=there, depth=depth(7, 3, 900.0)), usage, NOW, OPTIONS
    )
    assert second.create is None
    assert second.apply is None, "what was just made is as it should be"
    if second.autoscale is not None:
        trigger, *scheduled = second.autoscale["spec"]["triggers"]
        assert [one["type"] for one in scheduled] == ["cron"] * len(spec["autoscaling"].get("schedule") or [])
        metadata = {key: value for key, value in trigger["metadata"].items() if key != "scalerAddress"}
        found = parse(metadata, OPTIONS.connections)
        assert found.queue == agent(spec, {}, {}).queue
        json.dumps(second.autoscale)


@pytest.mark.parametrize("spec", kept("specs"), ids=str)
def test_kept_specs(spec: dict[str, Any]) -> None:
    assert admitted(spec)
    for usage in (None, TokenUsage(1, 1, 0, False, None), TokenUsage(1, 1, 0, True, NOW)):
        check(spec, {}, usage)


@settings(max_examples=examples(200))
@given(
    by_schema(_SPEC).filter(admitted),
    st.dictionaries(
        st.sampled_from(["arkonis.dev/autoscaled-replicas", "arkonis.dev/pin"]),
        st.one_of(st.text(max_size=12), st.sampled_from(["5", "5 until 2026-11-25T12:00:00Z", "5 until 2026-13-45T"])),
    ),
    st.sampled_from(
        [None, TokenUsage(1, 1, 0, False, None), TokenUsage(1, 1, 0, True, None), TokenUsage(1, 1, 0, True, NOW)]
    ),
)
def test_new_specs(spec: dict[str, Any], annotations: dict[str, str], usage: TokenUsage | None) -> None:
    check(spec, annotations, usage)
