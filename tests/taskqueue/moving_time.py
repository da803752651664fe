"""Let a lease or a backoff run out at once, by moving the pending entry's delivery time into the past."""

from __future__ import annotations

from typing import cast

from ark_taskqueue import Client, QueueKeys
from ark_taskqueue.priority import entry_of, priority_of
from ark_taskqueue.tasks.reserved import BACKOFF, HORIZON_MS
from ark_taskqueue.tasks.task import text


def place(queue: QueueKeys, task_id: str) -> tuple[str, str]:
    """Return the key of a task's stream, and its entry's id."""
    return queue.stream_of(priority_of(task_id)), entry_of(task_id)


async def owner_of(client: Client, queue: QueueKeys, task_id: str) -> str | None:
    """Return the consumer that holds a task."""
    stream, entry_id = place(queue, task_id)
    reply = await client.xpending_range(stream, queue.group, entry_id, entry_id, 1)
    return text(cast("bytes", reply[0]["consumer"])) if reply else None


async def end_lease(client: Client, queue: QueueKeys, task_id: str, lease_seconds: float) -> None:
    """Make a task look as if its worker had been silent for a lease."""
    owner = await owner_of(client, queue, task_id)
    assert owner is not None, f"nobody holds {task_id}"
    stream, entry_id = place(queue, task_id)
    await client.xclaim(stream, queue.group, owner, 0, [entry_id], idle=int(lease_seconds * 1000), justid=True)


async def end_backoff(client: Client, queue: QueueKeys, task_id: str) -> None:
    """Make a task in backoff due now."""
    assert await owner_of(client, queue, task_id) == BACKOFF, f"{task_id} is not in backoff"
    stream, entry_id = place(queue, task_id)
    await client.xclaim(stream, queue.group, BACKOFF, 0, [entry_id], idle=HORIZON_MS, justid=True)


_AGE_LEDGER = """
local seconds = tonumber(ARGV[1])
local entries = redis.call('LRANGE', KEYS[1], 0, -1)
for place, entry in ipairs(entries) do
  local second, rest = string.match(entry, '^(%d+)( .*)$')
  redis.call('LSET', KEYS[1], place - 1, string.format('%.0f', tonumber(second) - seconds) .. rest)
end
for _, member in ipairs(redis.call('ZRANGE', KEYS[2], 0, -1)) do
  redis.call('ZINCRBY', KEYS[2], -seconds * 1000, member)
end
"""


async def age_ledger(client: Client, queue: QueueKeys, seconds: int) -> None:
    """Make all that the token ledger holds older, as if so much time had passed."""
    keys = (f"{queue.tokens}:log", f"{queue.tokens}:reserved")
    await client.execute_command("EVAL", _AGE_LEDGER, len(keys), *keys, seconds)


_DEAD_WORKERS = """
for number = 1, tonumber(ARGV[2]) do
  local id = redis.call('XADD', KEYS[1], '*', 'prompt', 'x')
  local name = string.format('worker-%d', number)
  redis.call('XREADGROUP', 'GROUP', ARGV[1], name, 'COUNT', 1, 'STREAMS', KEYS[1], '>')
  redis.call('XCLAIM', KEYS[1], ARGV[1], name, 0, id, 'IDLE', ARGV[3], 'JUSTID')
end
"""


async def dead_workers(client: Client, queue: QueueKeys, count: int, lease_seconds: float) -> None:
    """Make workers that held a task each and have been silent for a lease; the group must be there."""
    silent = int(lease_seconds * 1000)
    await client.execute_command("EVAL", _DEAD_WORKERS, 1, queue.stream, queue.group, count, silent)
