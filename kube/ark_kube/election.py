"""Leader election by a Lease (coordination.k8s.io): one of several replicas acts.

A leader renews its lease; the others take it over when it was not renewed for as long as it lasts. What counts is this
process's own monotonic clock, from the moment at which a change of the lease was seen; clocks that differ do no harm.
A leader that could not renew in time stops before the others may take over: its deadline counts from the *start* of the
last renewal that succeeded, and no attempt lasts beyond it. A lease is no fence; what a leader writes must be safe to
write twice.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime

import structlog

from ark_kube.client import Client
from ark_kube.errors import ApiError, ApiUnavailable
from ark_kube.objects import Object, Resource

LEASES = Resource("coordination.k8s.io/v1", "leases")
_NOT_FOUND = 404
_CONFLICT = 409
_RELEASE_SECONDS = 5.0


class LostLease(Exception):
    """The lease could not be renewed in time, or another holds it: this process must end."""


@dataclass(frozen=True, slots=True)
class Terms:
    """Times of an election, seconds; the defaults are controller-runtime's."""

    lease: float = 15.0
    """How long others wait for a renewal before they take over."""
    renew_deadline: float = 10.0
    """How long a leader goes on without a renewal; less than `lease`."""
    retry: float = 2.0
    """Time between two attempts."""

    def __post_init__(self) -> None:
        if not 0 < self.retry < self.renew_deadline < self.lease:
            raise ValueError(
                f"retry {self.retry:g} s, renew deadline {self.renew_deadline:g} s and lease {self.lease:g} s "
                "must each be less than the next"
            )


class Election:
    """One candidate.

    Args:
        client: the API server.
        namespace: of the Lease.
        name: of the Lease.
        identity: of this candidate, unlike any other's.
        terms: times.
        clock: monotonic time, seconds.
    """

    def __init__(
        self,
        client: Client,
        namespace: str,
        name: str,
        identity: str,
        terms: Terms | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._client = client
        self._namespace = namespace
        self._name = name
        self._identity = identity
        self._terms = terms or Terms()
        self._clock = clock
        self._seen: tuple[str, str] | None = None
        """Holder and renewal that were seen last."""
        self._seen_at = 0.0
        self._renewed_at = 0.0
        self.leading = False
        """Whether this candidate holds the lease."""
        self._log = structlog.get_logger(component="election").bind(lease=f"{namespace}/{name}", identity=identity)

    async def lead(self, work: Callable[[], Awaitable[None]]) -> None:
        """Wait for the lease, then do the work while it is held; releases it when the work ends or is cancelled.

        The work is cancelled, and has ended, before another may take over.

        Raises:
            LostLease: it was lost meanwhile.
        """
        await self._acquire()
        try:
            async with asyncio.TaskGroup() as group:
                renewing = group.create_task(self._keep())
                try:
                    await work()
                finally:
                    renewing.cancel()
        except* LostLease as lost:
            raise LostLease(str(lost.exceptions[0])) from None
        finally:
            if self.leading:
                self.leading = False
                await self._release()

    async def _acquire(self) -> None:
        self._log.info("waiting for the lease")
        while True:
            began = self._clock()
            try:
                async with asyncio.timeout(self._terms.renew_deadline):
                    if await self._try():
                        break
            except (ApiError, ApiUnavailable, TimeoutError) as error:
                self._log.warning("lease cannot be taken, trying again", error=str(error) or "no answer in time")
            await asyncio.sleep(self._terms.retry * random.uniform(1.0, 1.2))  # noqa: S311 - no secret
        self._renewed_at = began
        self.leading = True
        self._log.info("leading")

    async def _keep(self) -> None:
        """Renew until it fails."""
        while True:
            await asyncio.sleep(self._terms.retry)
            await self._renew()

    async def _renew(self) -> None:
        began = self._clock()
        left = self._renewed_at + self._terms.renew_deadline - began
        problem = "no answer in time"
        try:
            async with asyncio.timeout(left):
                if not await self._try():
                    raise self._lost("another replica holds the lease")
        except TimeoutError:
            pass
        except (ApiError, ApiUnavailable) as error:
            problem = str(error)
        else:
            self._renewed_at = began
            return
        self._log.warning("lease cannot be renewed", error=problem)
        if self._clock() + self._terms.retry >= self._renewed_at + self._terms.renew_deadline:
            raise self._lost(f"the lease was not renewed for {self._terms.renew_deadline:g} s: {problem}")

    def _lost(self, why: str) -> LostLease:
        """Stop leading; what is not held any more is not released either."""
        self.leading = False
        return LostLease(why)

    async def _try(self) -> bool:
        """Take or renew the lease, unless another's is still good; return whether it is ours."""
        path = LEASES.path(self._namespace, self._name)
        try:
            lease = await self._client.get(path)
        except ApiError as error:
            if error.status != _NOT_FOUND:
                raise
            return await self._written(self._client.create(LEASES.path(self._namespace), self._first()))
        spec = lease.get("spec") or {}
        holder = spec.get("holderIdentity") or ""
        self._look(holder, str(spec.get("renewTime")))
        lasts = spec.get("leaseDurationSeconds") or self._terms.lease
        if holder not in ("", self._identity) and self._clock() < self._seen_at + lasts:
            return False
        return await self._written(self._client.patch(path, self._next(lease, holder)))

    def _look(self, holder: str, renewed: str) -> None:
        if (holder, renewed) != self._seen:
            self._seen = (holder, renewed)
            self._seen_at = self._clock()

    async def _written(self, write: Awaitable[Object]) -> bool:
        """Await a write; a conflict means that another was faster."""
        try:
            lease = await write
        except ApiError as error:
            if error.status != _CONFLICT:
                raise
            return False
        self._look(self._identity, str(lease["spec"]["renewTime"]))
        return True

    def _first(self) -> Object:
        metadata = {"namespace": self._namespace, "name": self._name}
        return {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": metadata,
            "spec": self._spec(True, 0),
        }

    def _next(self, lease: Object, holder: str) -> Object:
        """Return the patch that renews or takes over; with the version that was read, so that one of two wins."""
        taken = holder != self._identity
        transitions = int((lease.get("spec") or {}).get("leaseTransitions") or 0) + taken
        version = {"resourceVersion": lease["metadata"]["resourceVersion"]}
        return {"metadata": version, "spec": self._spec(taken, transitions)}

    def _spec(self, taken: bool, transitions: int) -> Object:
        now = _micro_time()
        spec = {
            "holderIdentity": self._identity,
            "leaseDurationSeconds": max(1, round(self._terms.lease)),
            "renewTime": now,
            "leaseTransitions": transitions,
        }
        return spec | ({"acquireTime": now} if taken else {})

    async def _release(self) -> None:
        """Give the lease up, so that another need not wait for its end."""
        path = LEASES.path(self._namespace, self._name)
        try:
            async with asyncio.timeout(_RELEASE_SECONDS):
                lease = await self._client.get(path)
                if lease["spec"].get("holderIdentity") != self._identity:
                    return
                version = {"resourceVersion": lease["metadata"]["resourceVersion"]}
                spec = {"holderIdentity": "", "leaseDurationSeconds": 1, "renewTime": _micro_time()}
                await self._client.patch(path, {"metadata": version, "spec": spec})
        except (ApiError, ApiUnavailable, TimeoutError) as error:
            self._log.warning("lease cannot be released, others wait for its end", error=str(error))
        else:
            self._log.info("lease released")


def _micro_time() -> str:
    """Return the present as Kubernetes' MicroTime, which has exactly six digits."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
