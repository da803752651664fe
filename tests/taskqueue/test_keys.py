"""Names of queues and of their keys (contract C1)."""

from __future__ import annotations

import pytest
from redis.crc import key_slot

from ark_taskqueue import InvalidQueueName, QueueKeys


def test_an_agents_keys_are_those_of_the_contract() -> None:
    queue = QueueKeys.for_agent("default", "writer")
    assert queue.stream == "ark:{default/writer}:tasks"
    assert queue.dead == "ark:{default/writer}:dead"
    assert queue.stats == "ark:{default/writer}:stats"
    assert queue.result("1-0") == "ark:{default/writer}:results:1-0"
    assert queue.group == "agent-workers"
    assert (queue.namespace, queue.name) == ("default", "default/writer")


@pytest.mark.parametrize("stream", ["agent-tasks", "team:{x}:tasks", "ark:{a/b}:tasks", "{}odd".replace("{}", "{o}")])
def test_all_keys_of_a_queue_lie_in_one_slot(stream: str) -> None:
    queue = QueueKeys.for_stream(stream)
    keys = [queue.stream, queue.dead, queue.stats, queue.result("1-0"), queue.once("k")]
    assert len({key_slot(key.encode()) for key in keys}) == 1


def test_an_agents_stream_by_its_key_is_the_agents_queue() -> None:
    assert QueueKeys.for_stream("ark:{default/writer}:tasks") == QueueKeys.for_queue("default/writer")
    assert QueueKeys.for_stream("ark:{default/writer}:tasks").namespace == "default"


def test_a_stream_of_another_name_belongs_to_no_namespace() -> None:
    assert QueueKeys.for_stream("agent-tasks").namespace is None


@pytest.mark.parametrize(
    "name",
    [
        "",
        "writer",
        "a/b/c",
        "/b",
        "a/",
        "A/b",
        "a/b_c",
        "a/b c",
        "a/-b",
        "a/b-",
        "a}/b",
        "a/b\n",
        "a" * 64 + "/b",
        "a/" + "b." * 126 + "bb",
    ],
)
def test_a_malformed_queue_name_is_refused_with_the_name_and_what_is_allowed(name: str) -> None:
    with pytest.raises(InvalidQueueName, match="<namespace>/<agent>") as caught:
        QueueKeys.for_queue(name)
    assert repr(name) in str(caught.value)


@pytest.mark.parametrize("stream", ["", "a b", "a\x00b", "a\n", "x" * 513, "a}b", "a{b", "{}:x"])
def test_a_malformed_stream_name_is_refused(stream: str) -> None:
    with pytest.raises(InvalidQueueName):
        QueueKeys.for_stream(stream)
