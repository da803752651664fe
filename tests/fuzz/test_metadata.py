"""Trigger metadata: parsed, or refused with a reason; nothing else."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ark_scaler.errors import Refusal
from ark_scaler.trigger import _OWN_KEYS, parse
from tests.fuzz.corpus import examples, kept

_KEYS = st.one_of(
    st.sampled_from(sorted(_OWN_KEYS)),
    st.sampled_from(sorted(f"{key}FromEnv" for key in _OWN_KEYS)),
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
    except Refusal as refused:
        said = str(refused)
        assert said.startswith("trigger metadata")
        assert len(said) < 2000
        return
    assert found.tasks_per_replica >= 1
    assert found.activation_tasks >= 0
    assert found.redis in ("default", "big")
    assert found.queue.stream
    if found.target_wait_seconds is not None:
        assert 0 < found.target_wait_seconds < math.inf
    if found.budget is not None:
        assert 1 <= found.max_tokens_per_call <= (found.max_daily_tokens or 0)


@pytest.mark.parametrize("metadata", kept("metadata"), ids=str)
def test_kept_metadata(metadata: dict[str, str]) -> None:
    check(metadata)


@settings(max_examples=examples(500))
@given(st.dictionaries(_KEYS, _VALUES, max_size=6))
def test_new_metadata(metadata: dict[str, str]) -> None:
    check(metadata)
