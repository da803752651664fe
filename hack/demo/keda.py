"""A stand-in for KEDA and the HPA: calls the scaler as they do, and sets a deployment's replicas.

What it does and when is the behaviour of KEDA 2.21: the poll loop with its calls and its one retry, the push stream
with its backoff that only an end with OK resets, activation and cooldown, and the HPA's sync every 15 s. On an error
replicas are held.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Protocol

import grpc

from ark_scaler.wire import externalscaler_pb2 as wire
from ark_scaler.wire.externalscaler_pb2_grpc import ExternalScalerStub
from ark_sizing import hpa
from hack.demo.clock import DemoClock

_FIRST_RECONNECT_SECONDS = 2.0
_LONGEST_RECONNECT_SECONDS = 60.0


class Deployment(Protocol):
    """What is scaled."""

    @property
    def replicas(self) -> int:
        """``spec.replicas``."""

    def scale(self, replicas: int) -> None:
        """Set ``spec.replicas``."""


@dataclass(frozen=True, slots=True)
class ScaledObject:
    """The part of a ScaledObject that decides; times in seconds."""

    reference: wire.ScaledObjectRef
    polling_seconds: float = 30.0
    cooldown_seconds: float = 300.0
    min_replicas: int = 0
    max_replicas: int = 100
    behavior: hpa.Behavior = field(default_factory=hpa.Behavior)


class KedaStandIn:
    """Scales one deployment by one ScaledObject."""

    def __init__(
        self, scaled_object: ScaledObject, channel: grpc.aio.Channel, deployment: Deployment, clock: DemoClock
    ) -> None:
        self._object = scaled_object
        self._stub = ExternalScalerStub(channel)
        self._deployment = deployment
        self._clock = clock
        self._last_active: float | None = None
        self._history = hpa.History()
        self.errors = 0
        """Calls that failed: replicas were held."""

    @property
    def speed(self) -> float:
        """Trace seconds in a real second."""
        return self._clock.speed

    async def run(self) -> None:
        """Scale until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._follow_pushes())
            tasks.create_task(self._poll())
            tasks.create_task(self._sync_hpa())

    # external-push

    async def _follow_pushes(self) -> None:
        wait = _FIRST_RECONNECT_SECONDS
        while True:
            try:
                async for response in self._stub.StreamIsActive(self._object.reference):
                    if response.result:
                        self._activate()
                wait = _FIRST_RECONNECT_SECONDS  # only an end with OK resets it
            except grpc.aio.AioRpcError:
                self.errors += 1
            await self._clock.sleep(wait)
            wait = min(2 * wait, _LONGEST_RECONNECT_SECONDS)

    def _activate(self) -> None:
        self._last_active = self._clock.now()
        if self._deployment.replicas == 0:
            self._deployment.scale(max(1, self._object.min_replicas))

    # The poll loop: between zero and one.

    async def _poll(self) -> None:
        while True:
            try:
                active = await self._polled()
            except grpc.aio.AioRpcError:
                self.errors += 1
            else:
                if active:
                    self._activate()
                elif self._cooldown_is_over():
                    self._deployment.scale(self._object.min_replicas)
            await self._clock.sleep(self._object.polling_seconds)

    async def _polled(self) -> bool:
        active = False
        for spec in await self._specs():
            _, is_active = await self._metric_and_activity(spec.metricName)
            active = active or is_active
        return active

    def _cooldown_is_over(self) -> bool:
        if self._object.min_replicas or not self._deployment.replicas:
            return False
        since = self._clock.now() - self._last_active if self._last_active is not None else float("inf")
        return since >= self._object.cooldown_seconds

    # The HPA: from one upwards.

    async def _sync_hpa(self) -> None:
        while True:
            await self._clock.sleep(hpa.SYNC_SECONDS)
            replicas = self._deployment.replicas
            if replicas == 0:
                self._history = hpa.History()
                continue
            try:
                [spec] = await self._specs()
                value, _ = await self._metric_and_activity(spec.metricName)
            except grpc.aio.AioRpcError:
                self.errors += 1
                continue
            if self._deployment.replicas != replicas:
                continue  # the write would conflict, and the next sync decides
            self._deployment.scale(
                hpa.decide(
                    hpa.wanted(value, spec.targetSizeFloat or spec.targetSize, replicas),
                    replicas,
                    max(1, self._object.min_replicas),
                    self._object.max_replicas,
                    self._object.behavior,
                    self._history,
                    self._clock.now(),
                )
            )

    async def _specs(self) -> list[wire.MetricSpec]:
        return list((await self._stub.GetMetricSpec(self._object.reference)).metricSpecs)

    async def _metric_and_activity(self, name: str) -> tuple[float, bool]:
        """GetMetrics, then IsActive; on an error both once more."""
        try:
            return await self._metric_and_activity_once(name)
        except grpc.aio.AioRpcError:
            self.errors += 1
            return await self._metric_and_activity_once(name)

    async def _metric_and_activity_once(self, name: str) -> tuple[float, bool]:
        request = wire.GetMetricsRequest(scaledObjectRef=self._object.reference, metricName=name)
        [value] = (await self._stub.GetMetrics(request)).metricValues
        active = (await self._stub.IsActive(self._object.reference)).result
        return value.metricValueFloat or float(value.metricValue), active
