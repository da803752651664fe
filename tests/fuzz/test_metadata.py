"""Trigger metadata: parsed, or refused with a reason; nothing else."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ark_api.trigger import LARGEST_NUMBER, LARGEST_RESERVE, OWN_KEYS, InvalidTrigger, TriggerMetadata
from ark_scaler.decision.trigger import parse
from tests.fuzz.corpus import examples, kept

_KEYS = st.one_of(
    st.sampled_from(sorted(OWN_KEYS)),
    st.sampled_from(sorted(f"{key}FromEnv" for key in OWN_KEYS)),
    st.sampled_from(["scalerAddress", "enableTLS", "FromEnv"]),
    st.text(max_size=12),
)
_VALUES = st.one_of(
    st.text(max_size=30),
    st.integers(-10, 2**60).map(str),
    st.floats().map(repr),
    st.sampled_from(["a/b", "default", "ark:{a/b}:tasks", "{", "}", "", " ", "true", "0x10", "1e5", "٣"]),
)


def check(metadata: dict[str, str]) -> None:
    try:
        found = parse(metadata, ["default", "big"])
    except InvalidTrigger as refused:
        said = str(refused)
        assert said.startswith("trigger metadata")
        assert len(said) < 2000
        return
    assert found.metadata.tasks_per_replica >= 1
    assert found.metadata.activation_tasks >= 0
    assert found.redis in ("default", "big")
    assert found.queue.stream
    if found.metadata.target_wait_seconds is not None:
        assert 0 < found.metadata.target_wait_seconds < math.inf
    if found.budget is not None:
        assert 1 <= found.budget.per_call <= (found.budget.daily or 0)


@pytest.mark.parametrize("metadata", kept("metadata"), ids=str)
def test_kept_metadata(metadata: dict[str, str]) -> None:
    check(metadata)


@settings(max_examples=examples(500))
@given(st.dictionaries(_KEYS, _VALUES, max_size=6))
def test_new_metadata(metadata: dict[str, str]) -> None:
    check(metadata)


_NUMBERS = st.integers(1, LARGEST_NUMBER)


@st.composite
def _sound(draw: st.DrawFn) -> TriggerMetadata:
    queue, stream = draw(st.sampled_from([("a/b", None), (None, "orders"), (None, "jobs:{a}")]))
    daily = draw(st.none() | _NUMBERS)
    waiting_only = draw(st.booleans())
    base = None if waiting_only else draw(st.none() | st.floats(0, 1, exclude_min=True))
    return TriggerMetadata(
        queue=queue,
        stream=stream,
        group=draw(st.none() | st.just("workers")),
        redis=draw(st.none() | st.just("big")),
        tasks_per_replica=draw(_NUMBERS),
        activation_tasks=draw(st.integers(0, LARGEST_NUMBER)),
        target_wait_seconds=draw(st.none() | st.floats(0, exclude_min=True, allow_infinity=False)),
        reserve=0.0 if waiting_only else draw(st.floats(0, LARGEST_RESERVE)),
        base_quantile=base,
        base_seconds=600 if base is None else draw(st.integers(60, 3600)),
        max_daily_tokens=daily,
        max_tokens_per_call=8000 if daily is None else draw(st.integers(1, daily)),
        waiting_only=waiting_only,
    )


@settings(max_examples=examples(500))
@given(_sound())
def test_what_is_written_is_read_as_it_was(metadata: TriggerMetadata) -> None:
    assert TriggerMetadata.parse(metadata.to_metadata()) == metadata
    assert parse(metadata.to_metadata(), ["default", "big"]).metadata == metadata
