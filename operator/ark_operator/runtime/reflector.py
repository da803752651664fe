"""A cache of one resource, kept by list and watch, that tells of every change.

It ends only by cancellation, or when the API server says that it may not read: everything else passes, and is tried
again with a backoff. After a break the list is made anew and compared with the cache, so a deletion in between is told
like any other; a server that only closes its watch, as it does every few minutes, is asked to go on from where it was.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Iterator

import structlog

from ark_operator.runtime.client import ApiError, ApiUnavailable, Client, Object

_PAGE = 500
_WATCH_SECONDS = (240.0, 480.0)
"""Each watch lasts a random time: thousands of clients do not come back together."""
_IDLE_SECONDS = (70.0, 90.0)
"""Bookmarks come about every minute; a connection that is silent for longer is dead."""
_FIRST_PAUSE_SECONDS = 0.8
_LONGEST_PAUSE_SECONDS = 30.0
_HEALTHY_SECONDS = 60.0
"""A watch that lasted for so long ends the backoff."""
_GONE = 410
_REFUSED = frozenset({401, 403})


class NotAllowed(Exception):
    """The API server refuses to list or watch; the message says what to grant."""


Key = tuple[str, str]
"""Namespace and name."""
Changed = Callable[[Key, Object | None, Object | None], None]
"""Called with a key, the object before (None: it was not there) and now (None: it is gone)."""


def key_of(item: Object) -> Key:
    """Answer the key of an object."""
    return item["metadata"].get("namespace", ""), item["metadata"]["name"]


class Reflector:
    """Follows one resource."""

    def __init__(
        self,
        client: Client,
        path: str,
        changed: Changed,
        *,
        label_selector: str = "",
        idle_seconds: tuple[float, float] = _IDLE_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """
        Args:
            client: the API server.
            path: of the list, of one namespace or of all.
            changed: called for every change, after the cache has it; must neither block nor raise.
            label_selector: only objects with these labels.
            idle_seconds: least and most silence after which a connection counts as dead.
            clock: monotonic time, seconds.
        """
        self._client = client
        self._path = path
        self._query = {"labelSelector": label_selector} if label_selector else {}
        self._changed = changed
        self._idle_seconds = idle_seconds
        self._clock = clock
        self._cache: dict[Key, Object] = {}
        self._version = ""
        """Resource version up to which everything is known; empty where a list is needed."""
        self.synced = asyncio.Event()
        """Set once the first list is in the cache."""
        self.last_contact = clock()
        """When the API server said something last, for a health check; monotonic seconds."""
        self.lists = 0
        """Lists that were made."""
        self._log = structlog.get_logger(component="reflector").bind(path=path)

    def get(self, key: Key) -> Object | None:
        """Answer an object as it was seen last; not to be changed."""
        return self._cache.get(key)

    def __iter__(self) -> Iterator[Key]:
        """Answer the keys of all objects there are."""
        return iter(list(self._cache))

    def __len__(self) -> int:
        """Answer how many objects there are."""
        return len(self._cache)

    @property
    def silent_seconds(self) -> float:
        """How long the API server has said nothing."""
        return self._clock() - self.last_contact

    async def run(self) -> None:
        """Follow until cancelled.

        Raises:
            NotAllowed: the API server refuses.
        """
        pause = _FIRST_PAUSE_SECONDS
        while True:
            began = self._clock()
            try:
                if not self._version:
                    await self._list()
                await self._watch()
            except ApiUnavailable as error:
                self._log.warning("watch broke, trying again", error=str(error), pause_seconds=round(pause, 1))
            except ApiError as error:
                if error.status in _REFUSED:
                    raise NotAllowed(f"{error}; the ServiceAccount needs list and watch on {self._path}") from error
                self._version = ""
                log = self._log.info if error.status == _GONE else self._log.warning
                log("watch was ended, listing anew", error=str(error), pause_seconds=round(pause, 1))
            else:
                pause = _FIRST_PAUSE_SECONDS
                continue  # the server closed it at its time
            if self._clock() - began > _HEALTHY_SECONDS:
                pause = _FIRST_PAUSE_SECONDS
            await asyncio.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311 - no secret
            pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)

    async def _list(self) -> None:
        """Read all in pages, then put the difference into the cache."""
        found: dict[Key, Object] = {}
        query = {**self._query, "limit": str(_PAGE)}
        while True:
            listed = await self._client.get(self._path, **query)
            self.last_contact = self._clock()
            found |= {key_of(item): _slim(item) for item in listed["items"]}
            token = listed["metadata"].get("continue")
            if not token:
                break
            query["continue"] = token
        self.lists += 1
        for key in self._cache.keys() - found.keys():
            self._set(key, None)
        for key, item in found.items():
            self._set(key, item)
        self._version = listed["metadata"]["resourceVersion"]
        self.synced.set()

    async def _watch(self) -> None:
        changes = self._client.changes(
            self._path,
            self._version,
            self._query,
            watch_seconds=random.uniform(*_WATCH_SECONDS),  # noqa: S311 - no secret
            idle_seconds=random.uniform(*self._idle_seconds),  # noqa: S311 - no secret
        )
        async for event in changes:
            self.last_contact = self._clock()
            self._version = event.object["metadata"]["resourceVersion"]
            if event.type == "BOOKMARK":
                continue
            self._set(key_of(event.object), None if event.type == "DELETED" else _slim(event.object))

    def _set(self, key: Key, item: Object | None) -> None:
        before = self._cache.get(key)
        if item is None:
            self._cache.pop(key, None)
        elif before is not None and _version_of(before) == _version_of(item):
            return
        else:
            self._cache[key] = item
        if before is not item:
            self._changed(key, before, item)


def _slim(item: Object) -> Object:
    """Drop what fills memory and nobody reads: who has set which field makes up half of an object."""
    item["metadata"].pop("managedFields", None)
    return item


def _version_of(item: Object) -> str:
    return str(item["metadata"]["resourceVersion"])
