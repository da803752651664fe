"""What a ScaledObject's trigger asks for, as the scaler reads it: which queue, over which connection, against what."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from ark_api.names import DEFAULT_REDIS
from ark_api.trigger import BadValue, TriggerMetadata
from ark_taskqueue.errors import InvalidGroupName, InvalidQueueName
from ark_taskqueue.keys import DEFAULT_GROUP, QueueKeys
from ark_taskqueue.ledger.budget import Budget


@dataclass(frozen=True, slots=True)
class Trigger:
    """One trigger of one ScaledObject."""

    queue: QueueKeys
    metadata: TriggerMetadata

    @property
    def redis(self) -> str:
        """Name of the Redis connection in the server's settings."""
        return DEFAULT_REDIS if self.metadata.redis is None else self.metadata.redis

    @property
    def budget(self) -> Budget | None:
        """The token budget; None where there is none."""
        daily = self.metadata.max_daily_tokens
        return None if daily is None else Budget(daily, self.metadata.max_tokens_per_call)


def parse(metadata: Mapping[str, str], connections: Collection[str]) -> Trigger:
    """Parse and check a trigger's metadata.

    Args:
        metadata: as KEDA sends it.
        connections: names of the Redis connections in the server's settings.

    Raises:
        InvalidTrigger: a key is unknown, or a value is not allowed; the message names the key, the value and what is.
    """
    given = TriggerMetadata.parse(metadata)
    trigger = Trigger(_queue(given), given)
    if trigger.redis not in connections:
        known = f"the scaler knows the connections {', '.join(sorted(connections))}"
        raise BadValue("redis", trigger.redis, known)
    return trigger


def _queue(given: TriggerMetadata) -> QueueKeys:
    key, name = ("queue", given.queue) if given.queue is not None else ("stream", given.stream or "")
    make = QueueKeys.for_queue if key == "queue" else QueueKeys.for_stream
    try:
        return make(name, DEFAULT_GROUP if given.group is None else given.group)
    except InvalidGroupName as error:
        raise BadValue("group", error.name, f"give {error.allowed}") from None
    except InvalidQueueName as error:
        raise BadValue(key, name, f"give {error.allowed}") from None
