"""Lua scripts: one file per operation, beside the Python module that calls it.

A script is atomic, so what it does to a task happens as a whole or not at all, whenever a worker dies. Every key
goes in through KEYS (Redis Cluster needs that), every value through ARGV, and the time is the server's.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from importlib import resources
from typing import Any

from redis.exceptions import NoScriptError

from ark_taskqueue.connection import Client, pipelined, translated

_USES = re.compile(r"^-- uses: (\w+)$", re.MULTILINE)
"""How the head of a Lua file asks for the local functions of another one."""


Call = tuple[tuple[str, ...], tuple[str | bytes | int, ...]]
"""Keys, the first of which says where they lie in a Cluster, and arguments."""


class Script:
    """One Lua script of this package, called by its hash and sent whole only where the server does not know it."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.text = _source(name)
        self.sha = hashlib.sha1(self.text.encode(), usedforsecurity=False).hexdigest()

    async def run(self, client: Client, keys: tuple[str, ...], *arguments: str | bytes | int) -> Any:
        """Run the script and answer its reply.

        Raises:
            RedisUnavailable: Redis did not answer; the script ran as a whole or not at all.
            RedisRefused: Redis or the script answered with an error.
        """
        with translated(f"run {self.name}"):
            try:
                return await client.execute_command("EVALSHA", self.sha, len(keys), *keys, *arguments)
            except NoScriptError:
                return await client.execute_command("EVAL", self.text, len(keys), *keys, *arguments)

    async def run_each(self, client: Client, calls: Sequence[Call]) -> list[Any]:
        """Run the script once for each call, all in one pipeline; an error takes the place of its call's reply.

        Raises:
            RedisError, OSError: nothing was answered; see `ark_taskqueue.connection.translated`.
        """
        replies = await self._send(client, calls, "EVALSHA", self.sha)
        unknown = [number for number, reply in enumerate(replies) if isinstance(reply, NoScriptError)]
        if unknown:
            again = await self._send(client, [calls[number] for number in unknown], "EVAL", self.text)
            for number, reply in zip(unknown, again, strict=True):
                replies[number] = reply
        return replies

    async def _send(self, client: Client, calls: Sequence[Call], command: str, script: str) -> list[Any]:
        commands = [(command, script, len(keys), *keys, *arguments) for keys, arguments in calls]
        return await pipelined(client, [keys[0] for keys, _ in calls], commands)


def _source(name: str) -> str:
    """Answer a Lua file's text with the files that it uses before it."""
    text = (resources.files("ark_taskqueue") / f"{name}.lua").read_text()
    return "".join(_source(used) for used in _USES.findall(text)) + text
