"""The trigger's metadata: what is understood, and the message for what is not."""

from __future__ import annotations

import time

import pytest

from ark_api.trigger import InvalidTrigger, TriggerMetadata
from ark_scaler.decision.trigger import Trigger, parse
from ark_taskqueue import Budget, QueueKeys

WRITER = {"queue": "default/writer"}
CONNECTIONS = ("default", "eu-west")


def test_defaults() -> None:
    trigger = parse(WRITER, CONNECTIONS)
    assert trigger == Trigger(QueueKeys.for_queue("default/writer"), TriggerMetadata("default/writer"))
    assert (trigger.redis, trigger.budget) == ("default", None)


def test_every_key() -> None:
    metadata = {
        "stream": "agent-tasks",
        "group": "old-workers",
        "tasksPerReplica": "12",
        "activationTasks": "3",
        "targetWaitSeconds": "2.5",
        "reserve": "1.5",
        "baseQuantile": "0.9",
        "baseSeconds": "300",
        "maxDailyTokens": "1000000",
        "maxTokensPerCall": "4000",
        "redis": "eu-west",
        "scalerAddress": "ark-scaler.ark:6000",
        "enableTLS": "true",
        "unsafeSsl": "false",
    }
    queue = QueueKeys.for_stream("agent-tasks", "old-workers")
    trigger = parse(metadata, CONNECTIONS)
    asked = TriggerMetadata(None, "agent-tasks", "old-workers", "eu-west", 12, 3, 2.5, 1.5, 0.9, 300, 1_000_000, 4000)
    assert trigger == Trigger(queue, asked)
    assert (trigger.redis, trigger.budget) == ("eu-west", Budget(1_000_000, 4000))


def test_a_value_from_the_targets_environment_means_the_same() -> None:
    """KEDA resolves ``xFromEnv`` and sends the value under that key."""
    assert parse({"queueFromEnv": "default/writer"}, CONNECTIONS) == parse(WRITER, CONNECTIONS)


def test_a_small_budget_has_a_smaller_call_by_default() -> None:
    trigger = parse({**WRITER, "maxDailyTokens": "100"}, CONNECTIONS)
    assert trigger.budget == Budget(100, 100)


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ({**WRITER, "taskPerReplica": "5"}, "unknown key 'taskPerReplica'; did you mean 'tasksPerReplica'?"),
        ({**WRITER, "address": "redis:6379"}, "unknown key 'address'; allowed: activationTasks, baseQuantile"),
        ({}, "neither 'queue' nor 'stream'"),
        ({**WRITER, "stream": "s"}, "both 'queue' and 'stream'"),
        ({**WRITER, "queueFromEnv": "a/b"}, "both 'queue' and 'queueFromEnv'"),
        ({"queue": "writer"}, "queue is 'writer': give <namespace>/<agent>"),
        ({"queue": "Default/Writer"}, "queue is 'Default/Writer': give <namespace>/<agent>"),
        ({"stream": "a b"}, "stream is 'a b': give a stream's key"),
        ({**WRITER, "group": ""}, "group is ''"),
        ({**WRITER, "tasksPerReplica": "0"}, "tasksPerReplica is '0': give a whole number from 1"),
        ({**WRITER, "tasksPerReplica": "-5"}, "tasksPerReplica is '-5': give a whole number from 1"),
        ({**WRITER, "tasksPerReplica": "five"}, "tasksPerReplica is 'five'"),
        ({**WRITER, "tasksPerReplica": "5.5"}, "tasksPerReplica is '5.5'"),
        ({**WRITER, "tasksPerReplica": "\u0665"}, "tasksPerReplica is '\u0665'"),  # a five in Arabic
        ({**WRITER, "tasksPerReplica": "9" * 400}, "tasksPerReplica is '999"),
        ({**WRITER, "activationTasks": "-1"}, "activationTasks is '-1': give a whole number from 0"),
        ({**WRITER, "activationTasks": ""}, "activationTasks is ''"),
        ({**WRITER, "reserve": "-1"}, "reserve is '-1': give a number from 0 to 100"),
        ({**WRITER, "reserve": "101"}, "reserve is '101': give a number from 0 to 100"),
        ({**WRITER, "reserve": "inf"}, "reserve is 'inf': give a number from 0 to 100"),
        ({**WRITER, "baseQuantile": "0"}, "baseQuantile is '0': give a number above 0, and up to 1"),
        ({**WRITER, "baseQuantile": "1.1"}, "baseQuantile is '1.1': give a number above 0, and up to 1"),
        (
            {**WRITER, "baseQuantile": "0.9", "baseSeconds": "7200"},
            "baseSeconds is '7200': give a whole number from 60",
        ),
        ({**WRITER, "baseQuantile": "0.9", "tasks": "waiting"}, "'baseQuantile' with tasks 'waiting'"),
        ({**WRITER, "baseSeconds": "300"}, "'baseSeconds' without 'baseQuantile'"),
        ({**WRITER, "reserve": "1", "tasks": "waiting"}, "'reserve' with tasks 'waiting'"),
        ({**WRITER, "targetWaitSeconds": "0"}, "targetWaitSeconds is '0': give a number of seconds above 0"),
        ({**WRITER, "targetWaitSeconds": "nan"}, "targetWaitSeconds is 'nan'"),
        ({**WRITER, "targetWaitSeconds": "1_0"}, "targetWaitSeconds is '1_0': give a number of seconds above 0"),
        ({**WRITER, "targetWaitSeconds": "\u0661\u0660"}, "give a number of seconds above 0"),
        ({**WRITER, "tasks": "some"}, "tasks is 'some': give all or waiting"),
        ({**WRITER, "targetWaitSeconds": "inf"}, "targetWaitSeconds is 'inf'"),
        ({**WRITER, "maxDailyTokens": "1e6"}, "maxDailyTokens is '1e6'"),
        ({**WRITER, "maxDailyTokens": "0"}, "maxDailyTokens is '0'"),
        ({**WRITER, "maxTokensPerCall": "5"}, "'maxTokensPerCall' without 'maxDailyTokens'"),
        (
            {**WRITER, "maxDailyTokens": "9", "maxTokensPerCall": "10"},
            "maxTokensPerCall is '10': no call would ever fit",
        ),
        ({**WRITER, "redisFromEnv": " "}, "redis is '': the scaler knows the connections default, eu-west"),
        ({**WRITER, "redis": "us"}, "redis is 'us': the scaler knows the connections default, eu-west"),
    ],
)
def test_bad_metadata_is_refused_with_the_key_the_value_and_what_is_allowed(
    metadata: dict[str, str], message: str
) -> None:
    with pytest.raises(InvalidTrigger) as caught:
        parse(metadata, CONNECTIONS)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_value_of_any_length_is_refused_at_once_and_in_few_words() -> None:
    for value in ("1" * 200_000 + "x", "1" * 200_000, "." * 200_000):
        began = time.process_time()
        with pytest.raises(InvalidTrigger) as caught:
            parse({**WRITER, "targetWaitSeconds": value}, CONNECTIONS)
        assert len(str(caught.value)) < 1000, "gRPC takes 8 kB of it"
        assert time.process_time() - began < 1, "it was quadratic: minutes"
    with pytest.raises(InvalidTrigger) as caught:
        parse({**WRITER, "k" * 200_000: "x"}, CONNECTIONS)
    assert len(str(caught.value)) < 1000
