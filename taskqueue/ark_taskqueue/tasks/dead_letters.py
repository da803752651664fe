"""Tasks that failed for good: look at them, and put them back into the queue."""

from __future__ import annotations

from collections.abc import Sequence

from ark_taskqueue.errors import TaskQueueError
from ark_taskqueue.keys import QueueKeys
from ark_taskqueue.redis.client import Client
from ark_taskqueue.redis.pipeline import pipelined
from ark_taskqueue.redis.script import Script
from ark_taskqueue.redis.translation import error_of, translated
from ark_taskqueue.tasks.task import DeadLetter, dead_letter_from, id_order, text

_PAGE = 100

_REQUEUE = Script("tasks/requeue")


class DeadLetters:
    """The dead letters of one queue; kept for a while (`LettersKept`), or until somebody requeues or deletes them."""

    def __init__(self, client: Client, queue: QueueKeys) -> None:
        self._client = client
        self._queue = queue

    async def count(self) -> int:
        """Return how many there are.

        Raises:
            RedisUnavailable, RedisRefused: Redis did not answer, or with an error.
        """
        with translated("count dead letters"):
            return int(await self._client.execute_command("XLEN", self._queue.dead))

    async def list(self, count: int = _PAGE, after: str | None = None) -> list[DeadLetter]:
        """Return up to `count` dead letters, oldest first, from the one behind the id `after` on.

        Raises:
            RedisUnavailable, RedisRefused: see `count`.
        """
        start = "-" if after is None else f"({after}"
        with translated("read dead letters"):
            reply = await self._client.execute_command("XRANGE", self._queue.dead, start, "+", "COUNT", count)
        return [dead_letter_from(id_, fields) for id_, fields in reply]

    async def get(self, id_: str) -> DeadLetter | None:
        """Return one dead letter; None where it is not there.

        Raises:
            RedisUnavailable, RedisRefused: see `count`; an id that cannot be one is refused.
        """
        with translated("read a dead letter"):
            reply = await self._client.execute_command("XRANGE", self._queue.dead, id_, id_)
        return dead_letter_from(*reply[0]) if reply else None

    async def requeue(self, ids: Sequence[str]) -> dict[str, str]:
        """Put dead letters back as new tasks of their priority, at its end, with their attempts counted from one again.

        Returns the new task's id for each dead letter's id; an id that is no dead letter is left out, so a call may
        be repeated. The queue's greatest depth does not apply: the tasks are in Redis already.

        Raises:
            RedisUnavailable, RedisRefused: see `count`.
        """
        keys = (*self._queue.streams, self._queue.dead, self._queue.stats)
        requeued: dict[str, str] = {}
        for start in range(0, len(ids), _PAGE):
            page = ids[start : start + _PAGE]
            reply = await _REQUEUE.run(self._client, keys, *page)
            requeued.update((text(reply[i]), text(reply[i + 1])) for i in range(0, len(reply), 2))
        return requeued

    async def requeue_all(self) -> int:
        """Put back every dead letter that there is now; return how many.

        Raises:
            RedisUnavailable, RedisRefused: see `count`.
        """
        total, last = 0, await self._newest_id()
        while last is not None:
            letters = [letter for letter in await self.list() if _not_after(letter.id, last)]
            if not letters:
                break
            total += len(await self.requeue([letter.id for letter in letters]))
        return total

    async def delete(self, ids: Sequence[str]) -> int:
        """Delete dead letters for good; return how many there were.

        Raises:
            RedisUnavailable, RedisRefused: see `count`.
        """
        with translated("delete dead letters"):
            return int(await self._client.execute_command("XDEL", self._queue.dead, *ids)) if ids else 0

    async def delete_all(self) -> int:
        """Delete every dead letter that there is now; return how many.

        Raises:
            RedisUnavailable, RedisRefused: see `count`.
        """
        total, last = 0, await self._newest_id()
        while last is not None:
            ids = [letter.id for letter in await self.list() if _not_after(letter.id, last)]
            if not ids:
                break
            total += await self.delete(ids)
        return total

    async def _newest_id(self) -> str | None:
        with translated("read dead letters"):
            newest = await self._client.execute_command("XREVRANGE", self._queue.dead, "+", "-", "COUNT", 1)
        return text(newest[0][0]) if newest else None


async def count_dead_letters(client: Client, queues: Sequence[QueueKeys]) -> list[int | TaskQueueError]:
    """Count the dead letters of many queues in one pipeline; an error takes the place of the count that it keeps back.

    Raises:
        RedisUnavailable: none could be counted.
    """
    with translated("count dead letters"):
        keys = [queue.dead for queue in queues]
        replies = await pipelined(client, keys, [("XLEN", key) for key in keys])
    found: list[int | TaskQueueError] = []
    for queue, reply in zip(queues, replies, strict=True):
        error = error_of(reply, f"count the dead letters of {queue.name}")
        found.append(int(reply) if error is None else error)
    return found


def _not_after(entry_id: str, last: str) -> bool:
    """Return whether an entry's id is not after another one; tasks that die while we requeue wait for the next time."""
    return id_order(entry_id) <= id_order(last)
