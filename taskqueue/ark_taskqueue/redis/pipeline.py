"""Many commands in one round trip, to a Cluster too."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import RedisClusterException, ResponseError

from ark_taskqueue.redis.cancellation import cancellable
from ark_taskqueue.redis.client import Client


async def pipelined(client: Client, keys: Sequence[str | bytes], commands: Sequence[tuple[Any, ...]]) -> list[Any]:
    """Send commands together and return their replies; an error takes the place of its command's reply.

    In a Cluster one pipeline goes to each node, all at the same time: a node that is down fails its own keys only.

    Args:
        client: see `ark_taskqueue.redis.client.connect`.
        keys: each command's key; with a Cluster it says which node is asked.
        commands: the commands.

    Raises:
        RedisError, OSError: nothing was answered; see `ark_taskqueue.redis.translation.translated`.
    """
    with cancellable():
        if isinstance(client, Redis):
            return await _one_pipeline(client, commands)
        await client.initialize()
        replies: list[Any] = [None] * len(commands)
        by_node: dict[str, list[int]] = {}
        for position, key in enumerate(keys):
            try:
                node = client.get_node_from_key(_text(key))
            except RedisClusterException as error:  # nobody serves the key's slot now
                replies[position] = error
            else:
                by_node.setdefault(node.name if node else "", []).append(position)
        answered = await asyncio.gather(
            *(_one_pipeline(client, [commands[i] for i in positions]) for positions in by_node.values()),
            return_exceptions=True,
        )
        for positions, answer in zip(by_node.values(), answered, strict=True):
            if isinstance(answer, BaseException) and not isinstance(answer, Exception):
                raise answer
            for place, position in enumerate(positions):
                replies[position] = answer if isinstance(answer, BaseException) else answer[place]
        if replies and all(isinstance(reply, Exception) and not isinstance(reply, ResponseError) for reply in replies):
            raise replies[0]
        return replies


async def _one_pipeline(client: Client, commands: Sequence[tuple[Any, ...]]) -> list[Any]:
    pipeline = client.pipeline(transaction=False) if isinstance(client, Redis) else client.pipeline()
    for command in commands:
        pipeline.execute_command(*command)
    replies: list[Any] = await pipeline.execute(raise_on_error=False)
    return replies


def _text(key: str | bytes) -> str:
    return key.decode() if isinstance(key, bytes) else key
