"""Leases: who leads, and since when nothing was heard of it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from ark_cli.kubectl import Kubectl


@dataclass(frozen=True, slots=True)
class Lease:
    """One of them."""

    holder: str
    """Who leads; empty where the last one has given it back."""
    seconds: float
    """How long it is good for."""
    age_seconds: float
    """Since it was renewed."""


async def read_lease(kubectl: Kubectl, namespace: str, name: str, now: datetime) -> Lease:
    """Read a Lease.

    Raises:
        NotThere: nobody has ever led.
        CliError: see `Kubectl.run`.
    """
    spec = (await kubectl.get(f"/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases/{name}"))["spec"]
    renewed = datetime.fromisoformat(spec["renewTime"]) if spec.get("renewTime") else None
    age = float("inf") if renewed is None else (now - renewed).total_seconds()
    return Lease(spec.get("holderIdentity") or "", float(spec.get("leaseDurationSeconds") or 0), age)
