"""Lua scripts: one file per operation, beside the Python module that calls it.

A script is atomic, so what it does to a task happens as a whole or not at all, whenever a worker dies. Every key
goes in through KEYS (Redis Cluster needs that), every value through ARGV, and the time is the server's.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from importlib import resources
from typing import Any, Literal, TypeAlias
from weakref import WeakSet

from redis.exceptions import NoPermissionError, NoScriptError, ResponseError

from ark_taskqueue.redis.client import Client
from ark_taskqueue.redis.pipeline import pipelined
from ark_taskqueue.redis.translation import translated

_USES = re.compile(r"^-- uses: ([\w/]+)$", re.MULTILINE)
"""How the head of a Lua file asks for the local functions of another one."""
_UNKNOWN_COMMAND = re.compile(r"(?:ERR )?unknown command", re.IGNORECASE)
"""What Redis says where it lacks a command; that has no code of its own."""
Kind: TypeAlias = Literal["", "_RO"]
"""How a script is called: as one that may write, or as one that only reads (Redis 7.0)."""
READS: tuple[Kind, ...] = ("_RO", "")
READS_AND_CLEARS_AWAY: tuple[Kind, ...] = ("", "_RO")
"""For a script that writes where it may, and answers the same where it may not."""


Call = tuple[tuple[str, ...], tuple[str | bytes | int, ...]]
"""Keys, the first of which says where they lie in a Cluster, and arguments."""


class Script:
    """One Lua script of this package, called by its hash and sent whole only where the server does not know it.

    Args:
        name: of the Lua file, as ``tasks/claim``.
        kinds: of call, the best one first. A script that writes nothing may be called as ``_RO`` by a user who may
            only read its keys; Redis 6.2 has no such call, and an older user may not have the right to it.
    """

    def __init__(self, name: str, kinds: Sequence[Kind] = ("",)) -> None:
        self.name = name.rpartition("/")[2]
        self._kinds = kinds
        self._second_best: WeakSet[Any] = WeakSet()
        """Clients that cannot call it in the best way."""
        self.text = _source(name)
        self.sha = hashlib.sha1(self.text.encode(), usedforsecurity=False).hexdigest()

    async def run(self, client: Client, keys: tuple[str, ...], *arguments: str | bytes | int) -> Any:
        """Run the script and return its reply.

        Raises:
            RedisUnavailable: Redis did not answer; the script ran as a whole or not at all.
            RedisRefused: Redis or the script answered with an error.
        """
        with translated(f"run {self.name} on {keys[0]}"):
            if len(self._kinds) > 1:
                [reply] = await self._replies(client, [(keys, arguments)])
                if isinstance(reply, Exception):
                    raise reply
                return reply
            try:
                return await client.execute_command("EVALSHA", self.sha, len(keys), *keys, *arguments)
            except NoScriptError:
                return await client.execute_command("EVAL", self.text, len(keys), *keys, *arguments)

    async def run_each(self, client: Client, calls: Sequence[Call]) -> list[Any]:
        """Run the script once for each call, all in one pipeline; an error takes the place of its call's reply.

        Raises:
            RedisError, OSError: nothing was answered; see `ark_taskqueue.redis.client.translated`.
        """
        return await self._replies(client, calls)

    async def _replies(self, client: Client, calls: Sequence[Call]) -> list[Any]:
        best, *others = self._kinds
        if not others:
            return await self._known(client, calls, best)
        if client in self._second_best:
            return await self._known(client, calls, others[0])
        replies = await self._known(client, calls, best)
        refused = [number for number, reply in enumerate(replies) if _cannot_be_called(reply)]
        if refused:
            # Only these: it may be one key that may not be read, and then the second answer is an error too.
            again = await self._known(client, [calls[number] for number in refused], others[0])
            for number, reply in zip(refused, again, strict=True):
                replies[number] = reply
            if any(not isinstance(reply, Exception) for reply in again):
                self._second_best.add(client)
        return replies

    async def _known(self, client: Client, calls: Sequence[Call], kind: Kind) -> list[Any]:
        """Call the script by its hash, and whole where the server does not know it."""
        replies = await self._send(client, calls, f"EVALSHA{kind}", self.sha)
        unknown = [number for number, reply in enumerate(replies) if isinstance(reply, NoScriptError)]
        if unknown:
            again = await self._send(client, [calls[number] for number in unknown], f"EVAL{kind}", self.text)
            for number, reply in zip(unknown, again, strict=True):
                replies[number] = reply
        return replies

    async def _send(self, client: Client, calls: Sequence[Call], command: str, script: str) -> list[Any]:
        commands = [(command, script, len(keys), *keys, *arguments) for keys, arguments in calls]
        return await pipelined(client, [keys[0] for keys, _ in calls], commands)


def _cannot_be_called(reply: Any) -> bool:
    """Return whether a server does not know a command, or does not let this user call it, or not with these keys."""
    unknown = type(reply) is ResponseError and _UNKNOWN_COMMAND.match(str(reply)) is not None
    return unknown or isinstance(reply, NoPermissionError)


def _source(name: str) -> str:
    """Return a Lua file's text with the files that it uses before it."""
    text = (resources.files("ark_taskqueue") / f"{name}.lua").read_text()
    return "".join(_source(used) for used in _USES.findall(text)) + text
