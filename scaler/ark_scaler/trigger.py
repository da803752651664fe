"""What a ScaledObject's trigger asks for: its metadata, parsed and checked.

KEDA sends the metadata as strings, with its own keys among them. A key ``xFromEnv`` comes with the value that KEDA
took from the target's environment and means the same as ``x``. Unknown keys are refused, since a misspelt key that
is passed over scales a pool wrongly without a word.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from ark_scaler.errors import BadMetadata, BadValue, UnknownKey
from ark_taskqueue import DEFAULT_CONNECTION, DEFAULT_GROUP, Budget, InvalidGroupName, InvalidQueueName, QueueKeys

_KEDA_KEYS = frozenset({"scalerAddress", "enableTLS", "unsafeSsl"})
_OWN_KEYS = frozenset(
    {
        "stream",
        "queue",
        "group",
        "tasksPerReplica",
        "activationTasks",
        "targetWaitSeconds",
        "maxDailyTokens",
        "maxTokensPerCall",
        "redis",
        "tasks",
    }
)
_ALL, _WAITING = "all", "waiting"
_FROM_ENVIRONMENT = "FromEnv"
_DEFAULT_TASKS_PER_REPLICA = 5
_DEFAULT_TOKENS_PER_CALL = 8000
_NUMBER = re.compile(r"(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?", re.ASCII)
_LONGEST_NUMBER = 100
"""Characters; far more than any number needs."""
LARGEST_NUMBER = 2**53
"""Numbers above are not exact in the wire's floating point fields; the ArkAgent's definition has the same bound."""


@dataclass(frozen=True, slots=True)
class Trigger:
    """One trigger of one ScaledObject."""

    queue: QueueKeys
    redis: str = DEFAULT_CONNECTION
    """Name of the Redis connection in the server's settings."""
    tasks_per_replica: int = _DEFAULT_TASKS_PER_REPLICA
    """Tasks that one replica should have: the metric's target."""
    activation_tasks: int = 0
    """The pool is woken when there are more tasks than this."""
    target_wait_seconds: float | None = None
    """How long a task may wait; None scales by the number of tasks alone."""
    max_daily_tokens: int | None = None
    """Budget of tokens in 24 hours: there is no demand while it is exceeded."""
    max_tokens_per_call: int = _DEFAULT_TOKENS_PER_CALL
    """Tokens that one call may use; the budget counts as exceeded when a full call no longer fits."""
    waiting_only: bool = False
    """Whether tasks in flight do not count, as a ScaledJob wants it: each of them has its Job already."""

    @property
    def budget(self) -> Budget | None:
        """The token budget; None where there is none."""
        return None if self.max_daily_tokens is None else Budget(self.max_daily_tokens, self.max_tokens_per_call)


def parse(metadata: Mapping[str, str], connections: Collection[str]) -> Trigger:
    """Parse and check a trigger's metadata.

    Args:
        metadata: as KEDA sends it.
        connections: names of the Redis connections in the server's settings.

    Raises:
        Refusal: a key is unknown, or a value is not allowed; the message names the key, the value and what is.
    """
    given = _own_values(metadata)
    daily_tokens, tokens_per_call = _budget(given)
    redis = given.get("redis", DEFAULT_CONNECTION)
    if redis not in connections:
        raise BadValue("redis", redis, f"the scaler knows the connections {', '.join(sorted(connections))}")
    return Trigger(
        queue=_queue(given),
        redis=redis,
        tasks_per_replica=_whole_number(given, "tasksPerReplica", 1, _DEFAULT_TASKS_PER_REPLICA),
        activation_tasks=_whole_number(given, "activationTasks", 0, 0),
        target_wait_seconds=_seconds(given, "targetWaitSeconds"),
        waiting_only=_one_of(given, "tasks", (_ALL, _WAITING)) == _WAITING,
        max_daily_tokens=daily_tokens,
        max_tokens_per_call=tokens_per_call,
    )


def _own_values(metadata: Mapping[str, str]) -> dict[str, str]:
    given: dict[str, str] = {}
    for key, value in metadata.items():
        name = key.removesuffix(_FROM_ENVIRONMENT)
        if name in _KEDA_KEYS:
            continue
        if name not in _OWN_KEYS:
            raise UnknownKey(key, _OWN_KEYS)
        if name in given:
            raise BadMetadata(f"trigger metadata has both {name!r} and '{name}{_FROM_ENVIRONMENT}': give one of them")
        given[name] = value.strip()
    return given


def _queue(given: Mapping[str, str]) -> QueueKeys:
    if ("queue" in given) == ("stream" in given):
        problem = "both 'queue' and 'stream'" if "queue" in given else "neither 'queue' nor 'stream'"
        raise BadMetadata(f"trigger metadata has {problem}: give queue: <namespace>/<agent>, or stream: <key>")
    key = "queue" if "queue" in given else "stream"
    make = QueueKeys.for_queue if key == "queue" else QueueKeys.for_stream
    try:
        return make(given[key], given.get("group", DEFAULT_GROUP))
    except InvalidGroupName as error:
        raise BadValue("group", error.name, f"give {error.allowed}") from None
    except InvalidQueueName as error:
        raise BadValue(key, given[key], f"give {error.allowed}") from None


def _budget(given: Mapping[str, str]) -> tuple[int | None, int]:
    """Answer the daily budget and the tokens of one call."""
    if "maxDailyTokens" not in given:
        if "maxTokensPerCall" in given:
            raise BadMetadata("trigger metadata has 'maxTokensPerCall' without 'maxDailyTokens': give both, or neither")
        return None, _DEFAULT_TOKENS_PER_CALL
    budget = _whole_number(given, "maxDailyTokens", 1, 1)
    per_call = _whole_number(given, "maxTokensPerCall", 1, min(budget, _DEFAULT_TOKENS_PER_CALL))
    if per_call > budget:
        raise BadValue("maxTokensPerCall", str(per_call), f"no call would ever fit into maxDailyTokens {budget}")
    return budget, per_call


def _whole_number(given: Mapping[str, str], key: str, least: int, default: int) -> int:
    value = given.get(key)
    if value is None:
        return default
    # isdecimal alone would let digits of other scripts through.
    if not (value.isascii() and value.isdecimal()) or not least <= int(value[:17]) <= LARGEST_NUMBER or len(value) > 16:
        raise BadValue(key, value, f"give a whole number from {least} to {LARGEST_NUMBER}")
    return int(value)


def _one_of(given: Mapping[str, str], key: str, allowed: Sequence[str]) -> str:
    """Return one of several words; the first where none is given."""
    value = given.get(key, allowed[0])
    if value not in allowed:
        raise BadValue(key, value, f"give {' or '.join(allowed)}")
    return value


def _seconds(given: Mapping[str, str], key: str) -> float | None:
    value = given.get(key)
    if value is None:
        return None
    # float() takes more than people mean: 1_0, nan, digits of other scripts.
    is_number = len(value) <= _LONGEST_NUMBER and _NUMBER.fullmatch(value)
    seconds = float(value) if is_number else math.nan
    if not 0 < seconds < math.inf:
        raise BadValue(key, value, "give a number of seconds above 0")
    return seconds
