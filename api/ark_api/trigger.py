"""The metadata of a ScaledObject's trigger: what the operator writes, and what the scaler reads (contract C5).

KEDA sends the metadata as strings, with its own keys among them. A key ``xFromEnv`` comes with the value that KEDA
took from the target's environment and means the same as ``x``. Unknown keys are refused, since a misspelt key that
is passed over scales a pool wrongly without a word.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches

DEFAULT_TASKS_PER_REPLICA = 5
DEFAULT_TOKENS_PER_CALL = 8000
DEFAULT_BASE_SECONDS = 600
LARGEST_NUMBER = 2**53
"""Numbers above are not exact in the wire's floating point fields; the ArkAgent's definition has the same bound."""
LARGEST_RESERVE = 100
"""Anything above is a mistake: this much already asks for 1,000 free slots where 100 tasks are in hand."""
LEAST_BASE_SECONDS, MOST_BASE_SECONDS = 60, 3600
"""How far a base may look back."""
SCALER_ADDRESS = "scalerAddress"
"""Where KEDA finds the scaler: its own key, not the scaler's."""
_KEDA_KEYS = frozenset({SCALER_ADDRESS, "enableTLS", "unsafeSsl"})


@dataclass(frozen=True, slots=True)
class TriggerKey:
    """What the reference says of one key of the metadata."""

    default: str
    """As a person writes it; empty where there is none."""
    meaning: str


KEYS: Mapping[str, TriggerKey] = {
    "queue": TriggerKey(
        "", "`<namespace>/<agent>`. A namespace reads its own queues only, unless the scaler's settings allow more"
    ),
    "stream": TriggerKey(
        "", "Instead of `queue`: the key of any stream, where the scaler's `--allow-streams` permits it"
    ),
    "group": TriggerKey("agent-workers", "Consumer group of the workers"),
    "tasksPerReplica": TriggerKey(
        str(DEFAULT_TASKS_PER_REPLICA), "Tasks that one replica should have, waiting or in flight; at least 1"
    ),
    "activationTasks": TriggerKey("0", "The pool is woken when there are more tasks than this"),
    "targetWaitSeconds": TriggerKey("", "Waiting time to scale for, in seconds, instead of the number of tasks alone"),
    "reserve": TriggerKey(
        "0", "Free slots to keep while there are tasks, as a multiple of the root of the slots that they ask for"
    ),
    "baseQuantile": TriggerKey(
        "",
        "Slots to keep warm, also without tasks: this quantile, above 0 and up to 1, of the recent demand",
    ),
    "baseSeconds": TriggerKey(
        str(DEFAULT_BASE_SECONDS),
        f"How far the base looks back, from {LEAST_BASE_SECONDS} to {MOST_BASE_SECONDS}; only with `baseQuantile`",
    ),
    "maxDailyTokens": TriggerKey(
        "", "There is no demand while a full call does not fit into the tokens of the last 24 hours"
    ),
    "maxTokensPerCall": TriggerKey(
        str(DEFAULT_TOKENS_PER_CALL), "Tokens of one full call, input and output together; only with `maxDailyTokens`"
    ),
    "redis": TriggerKey(
        "default", "Name of a Redis connection in the scaler's settings; addresses never come from metadata"
    ),
    "tasks": TriggerKey("all", "`waiting`: tasks in flight do not count, as some strategies of a ScaledJob need it"),
}
"""Every key that the scaler reads, in the order in which the reference lists them."""
OWN_KEYS = frozenset(KEYS)
_ALL, _WAITING = "all", "waiting"
_FROM_ENVIRONMENT = "FromEnv"
_NUMBER = re.compile(r"(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?", re.ASCII)
_LONGEST_NUMBER = 100
"""Characters; far more than any number needs."""
_LONGEST_SHOWN = 500
"""Characters of a key or value that an error repeats: gRPC takes up to 8 kB of it."""


class InvalidTrigger(ValueError):
    """The metadata contradicts itself, lacks something, or has what is not allowed; the message names the key."""


class UnknownKey(InvalidTrigger):
    """The metadata has a key that means nothing here."""

    def __init__(self, key: str, allowed: Iterable[str]) -> None:
        names = sorted(allowed)
        close = get_close_matches(key[:_LONGEST_SHOWN], names, n=1)
        hint = f"did you mean {close[0]!r}? " if close else ""
        super().__init__(f"trigger metadata has the unknown key {_shown(key)}; {hint}allowed: {', '.join(names)}")


class BadValue(InvalidTrigger):
    """A key has a value that is not allowed."""

    def __init__(self, key: str, value: str, allowed: str) -> None:
        super().__init__(f"trigger metadata {key} is {_shown(value)}: {allowed}")


def _shown(text: str) -> str:
    return repr(text if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]}...")


@dataclass(frozen=True, slots=True)
class TriggerMetadata:
    """One trigger of one ScaledObject. Names of queues, streams, groups and connections are not checked here."""

    queue: str | None = None
    """``<namespace>/<agent>``; None where `stream` says it."""
    stream: str | None = None
    """Key of a stream of any name."""
    group: str | None = None
    """Consumer group; None for the default one."""
    redis: str | None = None
    """Name of the Redis connection in the scaler's settings; None for the default one."""
    tasks_per_replica: int = DEFAULT_TASKS_PER_REPLICA
    """Tasks that one replica should have: the metric's target."""
    activation_tasks: int = 0
    """The pool is woken when there are more tasks than this."""
    target_wait_seconds: float | None = None
    """How long a task may wait; None scales by the number of tasks alone."""
    reserve: float = 0.0
    """Free slots to keep while there are tasks, as a multiple of the root of the slots that they ask for."""
    base_quantile: float | None = None
    """Slots that stay warm, as a quantile of what tasks asked for in the spans of `base_seconds`; None for none."""
    base_seconds: int = DEFAULT_BASE_SECONDS
    """How far the base looks back."""
    max_daily_tokens: int | None = None
    """Budget of tokens in 24 hours: there is no demand while it is exceeded. None for none."""
    max_tokens_per_call: int = DEFAULT_TOKENS_PER_CALL
    """Tokens that one call may use; the budget counts as exceeded when a full call no longer fits."""
    waiting_only: bool = False
    """Whether tasks in flight do not count, as a ScaledJob wants it: each of them has its Job already."""

    def to_metadata(self) -> dict[str, str]:
        """Return the metadata that `parse` reads this from, without what is a default."""
        given: dict[str, str | None] = {
            "queue": self.queue,
            "stream": self.stream,
            "tasksPerReplica": str(self.tasks_per_replica),
            "group": self.group,
            "redis": self.redis,
            "activationTasks": str(self.activation_tasks) if self.activation_tasks else None,
            "targetWaitSeconds": _text(self.target_wait_seconds),
            "reserve": _text(self.reserve) if self.reserve else None,
            "tasks": _WAITING if self.waiting_only else None,
        }
        if self.base_quantile is not None:
            given["baseQuantile"] = _text(self.base_quantile)
            given["baseSeconds"] = str(self.base_seconds)
        if self.max_daily_tokens is not None:
            given["maxDailyTokens"] = str(self.max_daily_tokens)
            given["maxTokensPerCall"] = str(self.max_tokens_per_call)
        return {key: value for key, value in given.items() if value is not None}

    @classmethod
    def parse(cls, metadata: Mapping[str, str]) -> TriggerMetadata:
        """Parse and check a trigger's metadata.

        Args:
            metadata: as KEDA sends it.

        Raises:
            InvalidTrigger: a key is unknown, or a value is not allowed; the message says which, and what is.
        """
        given = _own_values(metadata)
        if ("queue" in given) == ("stream" in given):
            problem = "both 'queue' and 'stream'" if "queue" in given else "neither 'queue' nor 'stream'"
            raise InvalidTrigger(f"trigger metadata has {problem}: give queue: <namespace>/<agent>, or stream: <key>")
        waiting_only = _one_of(given, "tasks", (_ALL, _WAITING)) == _WAITING
        reserve = _reserve(given)
        base_quantile, base_seconds = _base(given)
        if waiting_only and (reserve or base_quantile is not None):
            key = "reserve" if reserve else "baseQuantile"
            raise InvalidTrigger(
                f"trigger metadata has {key!r} with tasks 'waiting': a Job is made for each task, so none can be free"
            )
        daily_tokens, tokens_per_call = _budget(given)
        return cls(
            queue=given.get("queue"),
            stream=given.get("stream"),
            group=given.get("group"),
            redis=given.get("redis"),
            tasks_per_replica=_whole_number(given, "tasksPerReplica", 1, DEFAULT_TASKS_PER_REPLICA),
            activation_tasks=_whole_number(given, "activationTasks", 0, 0),
            target_wait_seconds=_seconds(given, "targetWaitSeconds"),
            reserve=reserve,
            base_quantile=base_quantile,
            base_seconds=base_seconds,
            max_daily_tokens=daily_tokens,
            max_tokens_per_call=tokens_per_call,
            waiting_only=waiting_only,
        )


def _text(number: float | None) -> str | None:
    """Return a number that `_number` reads as the same one."""
    if number is None:
        return None
    return str(int(number)) if number < LARGEST_NUMBER and number == int(number) else repr(number)


def _own_values(metadata: Mapping[str, str]) -> dict[str, str]:
    given: dict[str, str] = {}
    for key, value in metadata.items():
        name = key.removesuffix(_FROM_ENVIRONMENT)
        if name in _KEDA_KEYS:
            continue
        if name not in OWN_KEYS:
            raise UnknownKey(key, OWN_KEYS)
        if name in given:
            raise InvalidTrigger(
                f"trigger metadata has both {name!r} and '{name}{_FROM_ENVIRONMENT}': give one of them"
            )
        given[name] = value.strip()
    return given


def _budget(given: Mapping[str, str]) -> tuple[int | None, int]:
    """Return the daily budget and the tokens of one call."""
    if "maxDailyTokens" not in given:
        if "maxTokensPerCall" in given:
            raise InvalidTrigger(
                "trigger metadata has 'maxTokensPerCall' without 'maxDailyTokens': give both, or neither"
            )
        return None, DEFAULT_TOKENS_PER_CALL
    budget = _whole_number(given, "maxDailyTokens", 1, 1)
    per_call = _whole_number(given, "maxTokensPerCall", 1, min(budget, DEFAULT_TOKENS_PER_CALL))
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
    allowed = "give a number of seconds above 0"
    seconds = _number(given, key, allowed)
    if seconds == 0:
        raise BadValue(key, given[key], allowed)
    return seconds


def _base(given: Mapping[str, str]) -> tuple[float | None, int]:
    """Return the base's quantile and window."""
    if "baseQuantile" not in given:
        if "baseSeconds" in given:
            raise InvalidTrigger("trigger metadata has 'baseSeconds' without 'baseQuantile': give both, or neither")
        return None, DEFAULT_BASE_SECONDS
    allowed = "give a number above 0, and up to 1"
    quantile = _number(given, "baseQuantile", allowed)
    if quantile is None or not 0 < quantile <= 1:
        raise BadValue("baseQuantile", given["baseQuantile"], allowed)
    seconds = _whole_number(given, "baseSeconds", LEAST_BASE_SECONDS, DEFAULT_BASE_SECONDS)
    if seconds > MOST_BASE_SECONDS:
        allowed = f"give a whole number from {LEAST_BASE_SECONDS} to {MOST_BASE_SECONDS}"
        raise BadValue("baseSeconds", given["baseSeconds"], allowed)
    return quantile, seconds


def _reserve(given: Mapping[str, str]) -> float:
    allowed = f"give a number from 0 to {LARGEST_RESERVE}"
    reserve = _number(given, "reserve", allowed) or 0.0
    if reserve > LARGEST_RESERVE:
        raise BadValue("reserve", given["reserve"], allowed)
    return reserve


def _number(given: Mapping[str, str], key: str, allowed: str) -> float | None:
    """Return a number from 0; None where it is not given."""
    value = given.get(key)
    if value is None:
        return None
    # float() takes more than people mean: 1_0, nan, digits of other scripts.
    is_number = len(value) <= _LONGEST_NUMBER and _NUMBER.fullmatch(value)
    number = float(value) if is_number else math.inf
    if number == math.inf:
        raise BadValue(key, value, allowed)
    return number
