"""Whether KEDA's operator runs, as far as its leader's lease tells.

A ScaledObject's status says nothing of it: it stays as it was when KEDA went. The lease is renewed every few seconds;
one that was not renewed for long, by this process's own clock, belongs to nobody who runs. Where there is no such
lease, or it may not be read, KEDA counts as running.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import structlog

from ark_kube.client import Client
from ark_kube.election import LEASES
from ark_kube.errors import ApiError, ApiUnavailable

_LOOK_SECONDS = 5.0


class KedaWatch:
    """Looks at the lease.

    Args:
        client: reads.
        namespace: of KEDA.
        lease: name of its operator's Lease.
        changed: called with why KEDA counts as down, or with nothing, when that changes.
        silent_seconds: how long the lease may go without a renewal; KEDA's lasts 15 s by default, and its successor
            needs some more to take over.
        clock: monotonic time, seconds.
    """

    def __init__(
        self,
        client: Client,
        namespace: str,
        lease: str,
        changed: Callable[[str], None],
        *,
        silent_seconds: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._client = client
        self._path = LEASES.path(namespace, lease)
        self._changed = changed
        self._silent_seconds = silent_seconds
        self._clock = clock
        self._seen: tuple[str, str] | None = None
        self._seen_at = clock()
        self._down = ""
        self._unreadable = False
        self._log = structlog.get_logger(component="keda")

    async def run(self) -> None:
        """Look until cancelled."""
        while True:
            await self._look()
            await asyncio.sleep(_LOOK_SECONDS)

    async def _look(self) -> None:
        try:
            lease = await self._client.get(self._path)
        except ApiUnavailable:
            self._seen_at = self._clock()  # nobody can renew anything now
            return
        except ApiError as error:
            if not self._unreadable:
                self._unreadable = True
                self._log.info("cannot read KEDA's lease, assuming that KEDA runs", error=str(error))
            self._set("")
            return
        self._unreadable = False
        spec = lease.get("spec") or {}
        seen = (str(spec.get("holderIdentity")), str(spec.get("renewTime")))
        if seen != self._seen:
            self._seen, self._seen_at = seen, self._clock()
        silent = self._clock() - self._seen_at
        over = silent > self._silent_seconds
        self._set(f"KEDA's operator has not renewed its lease for {self._silent_seconds:g} s" if over else "")

    def _set(self, down: str) -> None:
        if down == self._down:
            return
        self._down = down
        if down:
            self._log.warning("KEDA is down, autoscaled pools keep their size", why=down)
        else:
            self._log.info("KEDA is back")
        self._changed(down)
