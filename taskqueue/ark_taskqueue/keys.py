"""The names of a queue's keys in Redis (contract C1).

All keys of one queue carry the same hash tag, so that they lie in one slot of a Redis Cluster and one script may
use them together::

    ark:{<namespace>/<agent>}:tasks          stream of tasks
    ark:{<namespace>/<agent>}:tasks:high     stream of tasks with high priority; it comes to be with the first one
    ark:{<namespace>/<agent>}:tasks:low      stream of tasks with low priority, the same
    ark:{<namespace>/<agent>}:dead           stream of dead letters
    ark:{<namespace>/<agent>}:results:<id>   hash, one finished task's result, with a time to live
    ark:{<namespace>/<agent>}:once:<key>     string, the task submitted under an idempotency key
    ark:{<namespace>/<agent>}:once-digest:<key>  string, what was submitted under it
    ark:{<namespace>/<agent>}:stats          hash, service times, counts, and the number of the format
    ark:{<namespace>/<agent>}:demand         list, the record of the last day's demand (contract C8)
    ark:{<namespace>/<agent>}:refused        hash, when tasks that the LLM's provider refuses were refused first, and
                                             which delivery of a suspect was a worker's only task
    ark:{<namespace>/<agent>}:tokens         hash, sums of the token ledger
    ark:{<namespace>/<agent>}:tokens:log     list, tokens spent in each second of the last day
    ark:{<namespace>/<agent>}:tokens:reserved  sorted set, reservations of calls under way

A queue that exists already under another name keeps it: its stream's name, or the hash tag inside it, becomes the
tag of the other keys (``agent-tasks`` has its dead letters in ``{agent-tasks}:dead``).
"""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass, field

from ark_taskqueue.errors import InvalidGroupName, InvalidQueueName
from ark_taskqueue.priority import PRIORITIES, Priority

DEFAULT_GROUP = "agent-workers"
"""The consumer group of an agent's workers."""

_DNS_LABEL = r"[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?"
_QUEUE_NAME = re.compile(rf"(?P<namespace>{_DNS_LABEL})/(?P<agent>{_DNS_LABEL}(?:\.{_DNS_LABEL})*)")
_QUEUE_NAME_IS = (
    "<namespace>/<agent>, two Kubernetes names of lower-case letters, digits and hyphens, for example 'default/writer'"
)
_AGENT_STREAM = re.compile(rf"ark:\{{{_QUEUE_NAME.pattern}\}}:tasks")
_LONGEST_AGENT = 253
_LONGEST_STREAM = 512
_STREAM_IS = (
    f"a stream's key of 1 to {_LONGEST_STREAM} printable characters without spaces, "
    "with braces only as a hash tag {tag}"
)

_LONGEST_GROUP = 256
_GROUP_IS = f"a consumer group's name of 1 to {_LONGEST_GROUP} printable characters"


@dataclass(frozen=True, slots=True)
class QueueKeys:
    """One queue: where its tasks lie and who consumes them.

    Made by `for_agent`, `for_queue` or `for_stream`; equal when stream and group are.
    """

    stream: str
    """Key of the stream of tasks, of those with normal priority."""
    group: str = DEFAULT_GROUP
    """Name of the consumer group of the workers."""
    namespace: str | None = field(init=False, compare=False)
    """The Kubernetes namespace that the queue belongs to; None where its name does not say."""
    base: str = field(init=False, compare=False)
    """What the names of the queue's other keys begin with."""

    def __post_init__(self) -> None:
        match = _AGENT_STREAM.fullmatch(self.stream)
        if match:
            # Shared: a scaler knows thousands of queues of few namespaces.
            namespace, base = sys.intern(match["namespace"]), self.stream.removesuffix(":tasks")
        else:
            namespace, base = None, self.stream if _hash_tag(self.stream) else f"{{{self.stream}}}"
        for attribute, value in (("namespace", namespace), ("base", base)):
            object.__setattr__(self, attribute, value)

    @classmethod
    def for_agent(cls, namespace: str, agent: str, group: str = DEFAULT_GROUP, stream: str | None = None) -> QueueKeys:
        """Return the queue of an agent: named after it, or the one whose stream it names.

        Raises:
            InvalidQueueName: namespace or agent is no Kubernetes name, or stream or group are no possible names.
        """
        return cls.for_queue(f"{namespace}/{agent}", group) if stream is None else cls.for_stream(stream, group)

    @classmethod
    def for_queue(cls, name: str, group: str = DEFAULT_GROUP) -> QueueKeys:
        """Return the queue with the name ``<namespace>/<agent>``.

        Raises:
            InvalidQueueName: the name is not of that form, or the group's name has unprintable characters.
        """
        match = _QUEUE_NAME.fullmatch(name)
        if match is None or len(match["agent"]) > _LONGEST_AGENT:
            raise InvalidQueueName(name, _QUEUE_NAME_IS)
        return cls(f"ark:{{{name}}}:tasks", _checked_group(group))

    @classmethod
    def for_stream(cls, stream: str, group: str = DEFAULT_GROUP) -> QueueKeys:
        """Return the queue whose tasks lie in a stream of any name.

        Raises:
            InvalidQueueName: the name is empty, too long, or has spaces or unprintable characters.
        """
        braces_mislead = ("{" in stream or "}" in stream) and not _hash_tag(stream)
        if not 0 < len(stream) <= _LONGEST_STREAM or not stream.isprintable() or " " in stream or braces_mislead:
            raise InvalidQueueName(stream, _STREAM_IS)
        return cls(stream, _checked_group(group))

    @property
    def name(self) -> str:
        """``<namespace>/<agent>`` where the stream is an agent's, the stream's own name otherwise."""
        return self.stream if self.namespace is None else _hash_tag(self.stream)

    @property
    def streams(self) -> tuple[str, ...]:
        """Keys of the streams of tasks by priority, in the order in which tasks are taken."""
        return tuple(self.stream_of(priority) for priority in PRIORITIES)

    def stream_of(self, priority: Priority) -> str:
        """Key of the stream of tasks with a priority."""
        return self.stream if priority == "normal" else f"{self.base}:tasks:{priority}"

    @property
    def dead(self) -> str:
        """Key of the stream of dead letters."""
        return f"{self.base}:dead"

    @property
    def stats(self) -> str:
        """Key of the hash with service times and counts."""
        return f"{self.base}:stats"

    @property
    def refused(self) -> str:
        """Key of the hash with the first refusal of tasks that are refused."""
        return f"{self.base}:refused"

    @property
    def demand(self) -> str:
        """Key of the list with the record of the queue's demand."""
        return f"{self.base}:demand"

    @property
    def tokens(self) -> str:
        """Key of the hash with the token ledger's sums; those of its other keys begin with it."""
        return f"{self.base}:tokens"

    def result(self, task_id: str) -> str:
        """Key of one task's result."""
        return f"{self.base}:results:{task_id}"

    def once(self, idempotency_key: str) -> str:
        """Key that remembers which task was submitted under an idempotency key."""
        return f"{self.base}:once:{idempotency_key}"

    def once_digest(self, idempotency_key: str) -> str:
        """Key with the digest of what was submitted under an idempotency key; no other key can have its name."""
        return f"{self.base}:once-digest:{idempotency_key}"


def _hash_tag(key: str) -> str:
    """Return the part of a key that alone decides its slot (Redis Cluster), empty where the whole key does."""
    _, opened, rest = key.partition("{")
    tag, closed, _ = rest.partition("}")
    return tag if opened and closed else ""


def _checked_group(group: str) -> str:
    if not 0 < len(group) <= _LONGEST_GROUP or not group.isprintable():
        raise InvalidGroupName(group, _GROUP_IS)
    return group
