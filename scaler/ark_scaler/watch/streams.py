"""The set of watched streams."""

from __future__ import annotations

from collections.abc import Iterable

from ark_taskqueue import QueueKeys
from ark_taskqueue.tasks.task import id_order


def word(word: bytes) -> bytes:
    """Encode one word of a command (RESP bulk string)."""
    return b"$%d\r\n%s\r\n" % (len(word), word)


_EMPTY = "0-0"
_FROM_EMPTY = word(_EMPTY.encode())


class Stream:
    """A watched stream."""

    __slots__ = ("after", "after_word", "key", "key_word", "members", "queues", "round")

    def __init__(self, key: bytes) -> None:
        self.key = key
        self.key_word = word(key)
        self.after = ""
        self.after_word = _FROM_EMPTY
        self.queues: tuple[QueueKeys, ...] = ()
        self.members = 0
        """Queues that the id was chosen for."""
        self.round = 0
        """Number of the XREAD round that has this stream and this id; 0 for none yet."""


class Streams:
    """The watched streams, by key; several groups of one stream share its place."""

    def __init__(self) -> None:
        self._by_key: dict[bytes, Stream] = {}

    def __len__(self) -> int:
        return len(self._by_key)

    def all(self) -> Iterable[Stream]:
        """Return every stream."""
        return self._by_key.values()

    def get(self, queue: QueueKeys) -> Stream | None:
        """Return a queue's stream, where it is watched."""
        return self._by_key.get(queue.stream.encode())

    def has(self, queue: QueueKeys) -> bool:
        """Return whether a queue is watched."""
        stream = self.get(queue)
        return stream is not None and queue in stream.queues

    def add(self, queue: QueueKeys, after: str) -> bool:
        """Add a queue; return whether the next round differs from the last."""
        key = queue.stream.encode()
        stream = self._by_key.get(key)
        if stream is None:
            stream = self._by_key[key] = Stream(key)
        if queue not in stream.queues:
            stream.queues += (queue,)
        if len(stream.queues) > 1 and stream.after:
            # The earlier id of two groups: the later group is read once more than needed.
            after = min(after, stream.after, key=id_order)
        if stream.after == after and len(stream.queues) == stream.members:
            return False
        stream.members = len(stream.queues)
        stream.after, stream.round = after, 0
        stream.after_word = _FROM_EMPTY if after == _EMPTY else word(after.encode())
        return True

    def discard(self, queue: QueueKeys) -> None:
        """Remove a queue, and its stream where no other group reads that."""
        stream = self.get(queue)
        if stream is not None:
            stream.queues = tuple(other for other in stream.queues if other != queue)
            if not stream.queues:
                del self._by_key[stream.key]

    def pop(self, keys: Iterable[bytes]) -> list[QueueKeys]:
        """Remove streams; return their queues."""
        gone = [self._by_key.pop(key, None) for key in keys]
        return [queue for stream in gone if stream is not None for queue in stream.queues]

    def clear(self) -> None:
        """Remove everything."""
        self._by_key.clear()
