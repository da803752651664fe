"""A namespace reads its own queues, and what the settings allow beside them."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ark_api.tenancy import StreamRule, Tenancy
from ark_taskqueue import QueueKeys

OWN = QueueKeys.for_queue("team-a/writer")
LEGACY = QueueKeys.for_stream("agent-tasks")


@pytest.mark.parametrize(
    ("namespace", "queue", "rules", "allowed"),
    [
        ("team-a", OWN, [], True),
        ("team-a", QueueKeys.for_stream("ark:{team-a/writer}:tasks"), [], True),
        ("team-b", OWN, [], False),
        ("team", OWN, [], False),
        ("", OWN, [], False),
        ("team-a", LEGACY, [], False),
        ("team-a", QueueKeys.for_stream("ark:{team-a/writer}:dead"), [], False),
        ("team-a", LEGACY, ["team-a=agent-tasks"], True),
        ("team-b", LEGACY, ["team-a=agent-tasks"], False),
        ("team-b", LEGACY, ["team-a=agent-tasks", "*=agent-*"], True),
        ("ops", OWN, ["ops=*"], True),
        ("team-a", QueueKeys.for_stream("jobs[1]"), ["team-a=jobs[1]"], True),
        ("team-a", QueueKeys.for_stream("jobs1"), ["team-a=jobs[1]"], False),
        ("ops", OWN, ["ops=ark:{team-a/*}:tasks"], True),
        ("ops", QueueKeys.for_stream("a-b-c"), ["ops=a*b*c"], True),
        ("ops", QueueKeys.for_stream("abc"), ["ops=a*b*c"], True),
        ("ops", QueueKeys.for_stream("acb"), ["ops=a*b*c"], False),
        ("ops", QueueKeys.for_stream("aba"), ["ops=ab*ba"], False),
        ("ops", QueueKeys.for_stream("ab"), ["ops=ab**"], True),
        ("ops", QueueKeys.for_stream("xab"), ["ops=*b"], True),
        ("ops", QueueKeys.for_stream("a"), ["ops=a*a"], False),
    ],
)
def test_who_may_read_what(namespace: str, queue: QueueKeys, rules: list[str], allowed: bool) -> None:
    tenancy = Tenancy.of(StreamRule.parse(rule) for rule in rules)
    assert tenancy.allows(namespace, queue) is allowed


@pytest.mark.parametrize("text", ["", "agent-tasks", "=x", "x="])
def test_a_malformed_rule_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="NAMESPACE=STREAM"):
        StreamRule.parse(text)


@given(st.text("ab*", max_size=12), st.text("ab", max_size=20))
def test_a_pattern_matches_what_the_same_regular_expression_does(pattern: str, name: str) -> None:
    rule = StreamRule("*", pattern or "*")
    expected = re.fullmatch((pattern or "*").replace("*", ".*"), name) is not None
    assert rule.allows("team", name) is expected


def test_matching_takes_no_longer_for_many_stars() -> None:
    """Ten stars and a name of 200 hyphens took 0.6 s, and the fourth power of the name's length."""
    pattern, name = "*-" * 200 + "v1", "-" * 100_000
    assert not StreamRule("*", pattern).allows("team", name)  # hours, where it goes back and tries again
