"""The set of watched streams."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from ark_taskqueue import Priority, QueueKeys
from ark_taskqueue.tasks.task import id_order


def word(word: bytes) -> bytes:
    """Encode one word of a command (RESP bulk string)."""
    return b"$%d\r\n%s\r\n" % (len(word), word)


_EMPTY = "0-0"


class Watched:
    """The streams of a queue that one watch has; of another group too, where that reads the same ones."""

    __slots__ = ("after", "after_words", "key_words", "members", "queues", "round")

    def __init__(self, key_words: bytes, queue: QueueKeys) -> None:
        self.key_words = key_words
        self.after: tuple[str, ...] = ()
        self.after_words = b""
        self.queues: tuple[QueueKeys, ...] = (queue,)
        self.members = 0
        """Queues that the ids were chosen for."""
        self.round = 0
        """Number of the XREAD round that has these streams and these ids; 0 for none yet."""


class Streams:
    """The watched streams of some priorities, by the words for their keys; groups of one stream share its place.

    There are some for each of thousands of queues: they hold as little as possible.
    """

    def __init__(self, priorities: Sequence[Priority]) -> None:
        self._priorities = priorities
        self._by_words: dict[bytes, Watched] = {}
        self._after = (_EMPTY,) * len(priorities)
        self._after_words = word(_EMPTY.encode()) * len(priorities)

    def __len__(self) -> int:
        return len(self._by_words)

    @property
    def count(self) -> int:
        """Streams, of all priorities."""
        return len(self._by_words) * len(self._priorities)

    def all(self) -> Iterable[Watched]:
        """Return what is watched."""
        return self._by_words.values()

    def get(self, queue: QueueKeys) -> Watched | None:
        """Return a queue's streams, where they are watched for it."""
        watched = self._by_words.get(self._words(queue))
        return watched if watched is not None and queue in watched.queues else None

    def add(self, queue: QueueKeys, ids: Mapping[Priority, str]) -> bool:
        """Add a queue; return whether the next round differs from the last."""
        words, after = self._words(queue), tuple(ids[priority] for priority in self._priorities)
        watched = self._by_words.get(words)
        if watched is None:
            watched = self._by_words[words] = Watched(words, queue)
        elif queue not in watched.queues:
            watched.queues += (queue,)
        if len(watched.queues) > 1 and watched.after:
            # The earlier id of two groups: the later group is read once more than needed.
            after = tuple(min(pair, key=id_order) for pair in zip(after, watched.after, strict=True))
        if watched.after == after and len(watched.queues) == watched.members:
            return False
        watched.members, watched.round = len(watched.queues), 0
        # Most streams are empty: they share what says so.
        is_empty = after == self._after
        watched.after = self._after if is_empty else after
        watched.after_words = self._after_words if is_empty else b"".join(word(one.encode()) for one in after)
        return True

    def discard(self, queue: QueueKeys) -> None:
        """Remove a queue, and its streams where no other group reads them."""
        watched = self._by_words.get(self._words(queue))
        if watched is not None:
            watched.queues = tuple(other for other in watched.queues if other != queue)
            if not watched.queues:
                del self._by_words[watched.key_words]

    def pop(self, keys: Iterable[bytes]) -> list[QueueKeys]:
        """Remove what has the streams with these keys; return the queues."""
        gone = [self._by_words.pop(self._words_of(key), None) for key in keys]
        return [queue for watched in gone if watched is not None for queue in watched.queues]

    def pop_all(self) -> list[QueueKeys]:
        """Remove everything; return the queues."""
        queues = [queue for watched in self._by_words.values() for queue in watched.queues]
        self.clear()
        return queues

    def clear(self) -> None:
        """Remove everything."""
        self._by_words.clear()

    def _words(self, queue: QueueKeys) -> bytes:
        return b"".join([word(queue.stream_of(priority).encode()) for priority in self._priorities])

    def _words_of(self, key: bytes) -> bytes:
        """Return the words for all streams of the queue that a stream belongs to."""
        if len(self._priorities) == 1:
            return word(key)
        before = key.rpartition(b":")[0]
        return b"".join([word(b"%b:%b" % (before, priority.encode())) for priority in self._priorities])
