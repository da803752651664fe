"""A cache of one resource, kept by list and watch, that tells of every change.

It ends only by cancellation, or when the API server goes on saying that it may not read (one that has just started says
so too, until it has read its roles). Everything else passes, and is tried again with a backoff. After a break the list
is made anew and compared with the cache, so a deletion in between is told like any other; a server that only closes its
watch, as it does every few minutes, is asked to go on from where it was.

A resource that the API server does not know (404) has no objects: the cache is empty and synced, `installed` says so,
and the list is tried again like after any other break.

Whoever writes an object hands the answer to `observe`, so that the next decision does not rest on what was there
before; of two versions the later one stays. Resource versions are compared as numbers, which Kubernetes 1.35 makes a
promise of (KEP-5504) and every earlier one kept.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Iterator

import structlog

from ark_kube.client import Client
from ark_kube.compact import compact
from ark_kube.errors import ApiError, ApiUnavailable
from ark_kube.objects import Key, Object, key_of
from ark_process.backoff import Backoff

_PAGE = 500
_WATCH_SECONDS = (240.0, 480.0)
"""Each watch lasts a random time: thousands of clients do not come back together."""
_IDLE_SECONDS = (70.0, 90.0)
"""Bookmarks come about every minute; a connection that is silent for longer is dead."""
_BACKOFF = Backoff(first=0.8, longest=30.0, jitter=(0.5, 1.0))
_HEALTHY_SECONDS = 60.0
"""A watch that lasted for so long ends the backoff."""
_SHORT_SECONDS = 1.0
"""A watch that told nothing and was over so soon is a failure, or it would be opened without a pause for ever."""
_REFUSED_SECONDS = 20.0
"""How long refusals may last before they count."""
_NOT_FOUND = 404
_GONE = 410
_REFUSED = frozenset({401, 403})


class NotAllowed(Exception):
    """The API server refuses to list or watch; the message says what to grant."""


Changed = Callable[[Key, Object | None, Object | None], None]
"""Called with a key, the object before (None: it was not there) and now (None: it is gone)."""
Projection = Callable[[Object], Object]
"""Returns what of an object is kept; may change it."""


class Reflector:
    """Follows one resource.

    Args:
        client: the API server.
        path: of the list, of one namespace or of all.
        changed: called for every change, after the cache has it; must neither block nor raise.
        label_selector: only objects with these labels.
        project: what of an object is kept; all but ``managedFields``, which are large, where None.
        installed: called with whether the API server knows the resource, when that changes.
        idle_seconds: least and most silence after which a connection counts as dead.
        clock: monotonic time, seconds.
    """

    def __init__(
        self,
        client: Client,
        path: str,
        changed: Changed,
        *,
        label_selector: str = "",
        project: Projection | None = None,
        installed: Callable[[bool], None] | None = None,
        idle_seconds: tuple[float, float] = _IDLE_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._client = client
        self._path = path
        self._query = {"labelSelector": label_selector} if label_selector else {}
        self._changed = changed
        self._project = project or without_managers
        self._tell_installed = installed
        self._idle_seconds = idle_seconds
        self._clock = clock
        self._cache: dict[Key, Object] = {}
        self._version = ""
        """Resource version up to which everything is known; empty where a list is needed."""
        self._refused_at: float | None = None
        """When the refusals began that nothing has interrupted since."""
        self.synced = asyncio.Event()
        """Set once the first list is in the cache."""
        self.installed = True
        """Whether the API server knows the resource."""
        self.last_contact = clock()
        """When the API server said something last, for a health check; monotonic seconds."""
        self.lists = 0
        """Lists that were made."""
        self._log = structlog.get_logger(component="reflector").bind(path=path)

    def get(self, key: Key) -> Object | None:
        """Return an object as it was seen last; not to be changed."""
        return self._cache.get(key)

    def __iter__(self) -> Iterator[Key]:
        """Return the keys of all objects there are."""
        return iter(list(self._cache))

    def __len__(self) -> int:
        """Return how many objects there are."""
        return len(self._cache)

    @property
    def silent_seconds(self) -> float:
        """How long the API server has said nothing."""
        return self._clock() - self.last_contact

    def observe(self, item: Object, *, beyond: bool = False) -> None:
        """Take an object as the API server has just answered it, ahead of the watch.

        One that is not in the cache, though the watch has told of later changes, is gone: the answer took its time.

        Args:
            item: the object.
            beyond: it is one that the watch does not tell of, for example because it lost its labels.
        """
        key = key_of(item)
        heard = int(self._version or 0)
        if beyond or key in self._cache or _version_of(item) > heard:
            self._set(key, self._slim(item))

    def forget(self, key: Key) -> None:
        """Take note that an object is gone, ahead of the watch."""
        self._drop(key)

    async def run(self) -> None:
        """Follow until cancelled.

        Raises:
            NotAllowed: the API server refuses.
        """
        failures = 0
        while True:
            pause = _BACKOFF.pause(failures + 1)
            began = self._clock()
            heard = False
            try:
                if not self._version:
                    await self._list()
                heard = await self._watch()
            except ApiUnavailable as error:
                self._log.warning("watch broke, trying again", error=str(error), pause_seconds=round(pause, 1))
            except ApiError as error:
                self._take_refusal(error, pause)
            else:
                if heard or self._clock() - began > _SHORT_SECONDS:
                    failures = 0
                    continue  # the server closed it at its time
                self._log.warning("watch ended at once, trying again", pause_seconds=round(pause, 1))
            if self._clock() - began > _HEALTHY_SECONDS:
                failures, pause = 0, _BACKOFF.pause(1)
            failures += 1
            await asyncio.sleep(pause)

    def _take_refusal(self, error: ApiError, pause: float) -> None:
        """Have the list made anew, unless the API server says that it may not be made."""
        self._version = ""
        if error.status in _REFUSED:
            message = f"{error}; the ServiceAccount needs list and watch on {self._path}"
            now = self._clock()
            self._refused_at = self._refused_at or now
            if now - self._refused_at >= _REFUSED_SECONDS:
                raise NotAllowed(message) from error
            self._log.warning("refused, trying again for a while", error=message, pause_seconds=round(pause, 1))
            return
        if error.status == _NOT_FOUND:
            self._find_missing()
            return
        log = self._log.info if error.status == _GONE else self._log.warning
        log("watch was ended, listing anew", error=str(error), pause_seconds=round(pause, 1))

    async def _list(self) -> None:
        """Read all in pages, then put the difference into the cache."""
        found: dict[Key, Object] = {}
        query = {**self._query, "limit": str(_PAGE)}
        while True:
            listed = await self._client.get(self._path, **query)
            self.last_contact = self._clock()
            self._refused_at = None
            found |= {key_of(item): self._slim(item) for item in listed["items"]}
            token = listed["metadata"].get("continue")
            if not token:
                break
            query["continue"] = token
        self.lists += 1
        for key in self._cache.keys() - found.keys():
            self._drop(key, listed)
        for key, item in found.items():
            self._set(key, item)
        self._version = listed["metadata"]["resourceVersion"]
        self._set_installed(True)
        self.synced.set()

    def _find_missing(self) -> None:
        """Take note that the API server does not know the resource."""
        self.last_contact = self._clock()
        for key in list(self._cache):
            self._drop(key)
        self._set_installed(False)
        self.synced.set()

    def _set_installed(self, installed: bool) -> None:
        if installed is self.installed:
            return
        self.installed = installed
        self._log.info("resource is there now" if installed else "resource is not there, looking again")
        if self._tell_installed is not None:
            self._tell_installed(installed)

    async def _watch(self) -> bool:
        """Follow until the server ends the watch; return whether it told anything."""
        heard = False
        changes = self._client.changes(
            self._path,
            self._version,
            self._query,
            watch_seconds=random.uniform(*_WATCH_SECONDS),  # noqa: S311 - no secret
            idle_seconds=random.uniform(*self._idle_seconds),  # noqa: S311 - no secret
        )
        async for event in changes:
            heard = True
            self.last_contact = self._clock()
            self._version = event.object["metadata"]["resourceVersion"]
            if event.type == "BOOKMARK":
                continue
            if event.type == "DELETED":
                self._drop(key_of(event.object), event.object)
            else:
                self._set(key_of(event.object), self._slim(event.object))
        return heard

    def _set(self, key: Key, item: Object) -> None:
        before = self._cache.get(key)
        if before is not None and _version_of(before) >= _version_of(item):
            return  # what is known is this version, or a later one that the writer has handed in
        self._cache[key] = item
        self._changed(key, before, item)

    def _drop(self, key: Key, deleted: Object | None = None) -> None:
        """Forget an object, unless what is known is later than the deletion, or the list, that it is missing in."""
        before = self._cache.get(key)
        if before is None or (deleted is not None and _version_of(before) > _version_of(deleted)):
            return
        del self._cache[key]
        self._changed(key, before, None)

    def _slim(self, item: Object) -> Object:
        """Keep what is asked for, in little memory."""
        kept: Object = compact(self._project(item))
        return kept


def without_managers(item: Object) -> Object:
    """Drop what fills memory and hardly anybody reads: who has set which field makes up half of an object."""
    metadata = {name: value for name, value in item["metadata"].items() if name != "managedFields"}
    return {**item, "metadata": metadata}


def _version_of(item: Object) -> int:
    return int(item["metadata"]["resourceVersion"])
