"""Watch idle queues for their first task: one blocking XREAD for the normal tasks of all queues of a Redis.

High and low priorities have a second one, see `ark_scaler.watch.priorities`.

A watched stream has an id from which on any entry is news. The id comes out of the same script call that found the
queue idle, so an XADD at any moment after that reading is seen, however late the watch begins. From an empty stream
the id is 0-0, and then a stream that was deleted and made anew, by FLUSHALL or with lower ids after a fail-over, is
seen too.

The set changes all the time, and a blocked connection takes no commands, so a change ends the block from another
connection (CLIENT UNBLOCK) and the XREAD is sent again, no more often than `_pause` says: both ends handle every
watched stream at each round. Where CLIENT UNBLOCK is not permitted, blocks are short instead.

In a Redis Cluster one XREAD cannot name streams of several slots, and so they are polled, four times a second.
"""

from __future__ import annotations

from typing import cast

from redis.asyncio import Redis
from redis.asyncio.cluster import RedisCluster

from ark_scaler.watch.polling import PollingWatch
from ark_scaler.watch.priorities import PrioritiesWatch
from ark_scaler.watch.protocol import Watch, Watcher
from ark_taskqueue import Client

WATCH_CONNECTIONS = 2
"""Connections that a watch blocks."""


def watch_of(client: Client, commands: Client, watcher: Watcher) -> Watch:
    """Make the watch that fits a kind of Redis.

    Args:
        client: for the watch alone.
        commands: for what interrupts it.
        watcher: is told what the watch sees.
    """
    if isinstance(client, RedisCluster):
        return PollingWatch(client, watcher)
    return PrioritiesWatch(client, cast("Redis", commands), watcher)
