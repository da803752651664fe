"""A namespace reads its own queues, and what the settings allow beside them."""

from __future__ import annotations

import pytest

from ark_taskqueue import QueueKeys, StreamRule, Tenancy

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
    ],
)
def test_who_may_read_what(namespace: str, queue: QueueKeys, rules: list[str], allowed: bool) -> None:
    tenancy = Tenancy.of(StreamRule.parse(rule) for rule in rules)
    assert tenancy.allows(namespace, queue) is allowed


@pytest.mark.parametrize("text", ["", "agent-tasks", "=x", "x="])
def test_a_malformed_rule_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="NAMESPACE=STREAM"):
        StreamRule.parse(text)
