"""KEDA's calls, answered."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping
from functools import lru_cache
from typing import Any, NoReturn, TypeVar

import grpc
import structlog

from ark_api.tenancy import Tenancy
from ark_api.trigger import InvalidTrigger
from ark_scaler.decision import metric
from ark_scaler.decision.trigger import Trigger, parse
from ark_scaler.errors import BadMetadata, Forbidden, NothingKnown, Refusal, UnusableQueue
from ark_scaler.metrics import ScalerMetrics
from ark_scaler.observer import QueueObserver
from ark_scaler.push import Subscription
from ark_scaler.wire.externalscaler_pb2 import (
    GetMetricSpecResponse,
    GetMetricsRequest,
    GetMetricsResponse,
    IsActiveResponse,
    MetricSpec,
    MetricValue,
    ScaledObjectRef,
)
from ark_scaler.wire.externalscaler_pb2_grpc import ExternalScalerServicer
from ark_taskqueue import Budget, Depth, RedisRefused

_REMEMBERED_TRIGGERS = 20_000
"""Parsed triggers that are kept: KEDA sends the same metadata with every call."""
_LONGEST_PAUSE_SECONDS = 5.0
"""A budget that is exceeded is looked at again so often at least."""
_LEAST_SECONDS = 0.01
_ACTIVE = IsActiveResponse(result=True)

Context = grpc.aio.ServicerContext[Any, Any]
_R = TypeVar("_R")


class ScalerServicer(ExternalScalerServicer):
    """The service of the wire contract (protos/externalscaler.proto).

    Args:
        observers: by the name of the Redis connection.
        tenancy: who may read what.
        metrics: the process's metrics.
    """

    def __init__(self, observers: Mapping[str, QueueObserver], tenancy: Tenancy, metrics: ScalerMetrics) -> None:
        self._observers = observers
        self._tenancy = tenancy
        self._metrics = metrics
        self._log = structlog.get_logger(component="servicer")
        self._trigger = lru_cache(_REMEMBERED_TRIGGERS)(self._parse)
        self._closing = False

    def close(self) -> None:
        """End every open stream with OK, those that open from now on too: KEDA then comes back after two seconds."""
        self._closing = True
        for observer in self._observers.values():
            observer.close_subscriptions()

    async def GetMetricSpec(self, request: ScaledObjectRef, context: Context) -> GetMetricSpecResponse:
        """Return the metric and its target from the metadata alone, so that it works while Redis does not.

        KEDA drops this call's error, so bad metadata is answered with a metric whose name is the refusal: the API
        server refuses it, and with that it stands in the ScaledObject's Ready condition (docs/adr/0005).
        """
        method, began = "GetMetricSpec", time.perf_counter()
        try:
            trigger = self._trigger(request.SerializeToString())
        except Refusal as refusal:
            self._note(method, request, refusal)
            name, target = metric.refused_name(str(refusal)), 1
        else:
            self._metrics.requests.labels(method, grpc.StatusCode.OK.name).inc()
            name, target = metric.METRIC_NAME, trigger.metadata.tasks_per_replica
        spec = MetricSpec(metricName=name, targetSize=target, targetSizeFloat=target)
        self._metrics.request_seconds.labels(method).observe(time.perf_counter() - began)
        return GetMetricSpecResponse(metricSpecs=[spec])

    async def StreamMetricSpec(self, request: ScaledObjectRef, context: Context) -> None:
        """Say that there is nothing to stream: a trigger's target never changes without its metadata.

        KEDA 2.21 then goes on without a word, and is spared a stream that would cost some 25 kB.
        """
        self._metrics.requests.labels("StreamMetricSpec", grpc.StatusCode.UNIMPLEMENTED.name).inc()
        await context.abort(grpc.StatusCode.UNIMPLEMENTED, "targets never change without the metadata")

    async def GetMetrics(self, request: GetMetricsRequest, context: Context) -> GetMetricsResponse:
        """Return the demand, in slots; none while the token budget is exceeded."""

        async def answer(trigger: Trigger) -> GetMetricsResponse:
            found = await self._workable(trigger)
            slots = 0.0 if found is None else metric.value(found[0], trigger, found[1])
            # Rounded up in the field without a fraction: little demand must not become none.
            value = MetricValue(metricName=request.metricName, metricValue=-int(-slots // 1), metricValueFloat=slots)
            return GetMetricsResponse(metricValues=[value])

        return await self._answered("GetMetrics", request.scaledObjectRef, context, answer)

    async def IsActive(self, request: ScaledObjectRef, context: Context) -> IsActiveResponse:
        """Return whether the pool should run at all; not while the token budget is exceeded."""

        async def answer(trigger: Trigger) -> IsActiveResponse:
            found = await self._workable(trigger)
            return IsActiveResponse(result=found is not None and metric.is_active(found[0], trigger, found[1]))

        return await self._answered("IsActive", request, context, answer)

    async def StreamIsActive(self, request: ScaledObjectRef, context: Context) -> None:
        """Send ``true`` whenever the pool is to be woken, until KEDA or this server goes."""
        method = "StreamIsActive"
        try:
            trigger = self._trigger(request.SerializeToString())
        except Refusal as refusal:
            await self._refuse(method, request, context, refusal)
        observer = self._observers[trigger.redis]
        self._metrics.open_streams.inc()
        subscription = observer.subscribe(trigger.queue, trigger.metadata.activation_tasks)
        try:
            while not self._closing and await subscription.wait():
                if trigger.budget is not None and not await self._restored(trigger, trigger.budget, subscription):
                    continue
                await context.write(_ACTIVE)
                self._metrics.pushes.inc()
        finally:
            observer.unsubscribe(subscription)
            self._metrics.open_streams.dec()
        self._metrics.requests.labels(method, grpc.StatusCode.OK.name).inc()

    async def _workable(self, trigger: Trigger) -> tuple[Depth, float] | None:
        """Return a queue's depth and the base; None where its tasks cannot be done, for their token budget."""
        observer, asked, budget = self._observers[trigger.redis], trigger.metadata, trigger.budget
        ends, base = time.monotonic() + observer.timeout, 0.0

        def left() -> float:
            return max(_LEAST_SECONDS, ends - time.monotonic())

        if budget is not None:
            observer.budgets.note(trigger.queue, budget)
        try:
            depth = await observer.depth(trigger.queue)
            asks = depth.demand > 0 or asked.base_quantile is not None
            if budget is not None and asks and await observer.budgets.exceeded_for(trigger.queue, budget, left()):
                return None
            if asked.base_quantile is not None:
                window, what = (trigger.queue, asked.base_seconds), f"the recent demand of {trigger.queue.name!r}"
                _, spans = await observer.recent_demand.read(window, what, left())
                base = metric.base_slots(spans, depth.waiting_share(asked.target_wait_seconds), asked.base_quantile)
        except RedisRefused as error:
            raise UnusableQueue(str(error)) from error
        return depth, base

    async def _restored(self, trigger: Trigger, budget: Budget, subscription: Subscription) -> bool:
        """Wait until a call fits into the budget; return whether a pool is still to be woken then."""
        while True:
            try:
                seconds = await self._observers[trigger.redis].budgets.exceeded_for(trigger.queue, budget)
            except (NothingKnown, RedisRefused):
                seconds = _LONGEST_PAUSE_SECONDS  # nobody is woken for work that nobody may know to be possible
            if seconds == 0:
                return subscription.active
            if not await subscription.pause(min(seconds, _LONGEST_PAUSE_SECONDS)):
                return False

    async def _answered(
        self,
        method: str,
        scaled_object: ScaledObjectRef,
        context: Context,
        answer: Callable[[Trigger], Awaitable[_R]],
    ) -> _R:
        """Answer one call, or refuse it with its status, and count it."""
        began = time.perf_counter()
        try:
            response = await answer(self._trigger(scaled_object.SerializeToString()))
        except Refusal as refusal:
            await self._refuse(method, scaled_object, context, refusal)
        finally:
            self._metrics.request_seconds.labels(method).observe(time.perf_counter() - began)
        self._metrics.requests.labels(method, grpc.StatusCode.OK.name).inc()
        return response

    async def _refuse(
        self, method: str, scaled_object: ScaledObjectRef, context: Context, refusal: Refusal
    ) -> NoReturn:
        self._note(method, scaled_object, refusal)
        await context.abort(refusal.code, str(refusal))

    def _note(self, method: str, scaled_object: ScaledObjectRef, refusal: Refusal) -> None:
        """Count and log a refusal."""
        self._metrics.requests.labels(method, refusal.code.name).inc()
        # That Redis fails is logged once, by the observer; thousands of refused polls would bury it.
        log = self._log.debug if isinstance(refusal, NothingKnown) else self._log.warning
        log(
            "call refused",
            method=method,
            code=refusal.code.name,
            namespace=scaled_object.namespace,
            scaled_object=scaled_object.name,
            error=str(refusal),
        )

    def _parse(self, scaled_object: bytes) -> Trigger:
        """Parse and check the trigger of a serialized ScaledObjectRef; its bytes are what is remembered."""
        reference = ScaledObjectRef.FromString(scaled_object)
        try:
            trigger = parse(reference.scalerMetadata, self._observers)
        except InvalidTrigger as error:
            raise BadMetadata(str(error)) from error
        if not self._tenancy.allows(reference.namespace, trigger.queue):
            raise Forbidden(reference.namespace, trigger.queue.stream)
        return trigger
