"""Plays a trace into a queue and watches the pool, whatever runs it: the stand-ins of `hack.demo` or a real cluster."""

from __future__ import annotations

import asyncio
import time

from hack.demo.chart import Progress
from hack.demo.load import Load
from hack.demo.measure import Sampler

_SAMPLE_SECONDS = 0.25


class DemoFailed(Exception):
    """The demo could not be played to its end."""


async def play(
    load: Load, sampler: Sampler, display: Progress, *, seconds: float, tail_seconds: float, longest_tail_seconds: float
) -> None:
    """Submit the trace, and sample until all is done and the pool back at zero.

    Args:
        load: the trace.
        sampler: takes samples of queue and pool.
        display: shows them.
        seconds: how long the trace lasts, real seconds.
        tail_seconds: how long the pool is expected to be there after it, real seconds.
        longest_tail_seconds: how long it may be.

    Raises:
        DemoFailed: it was there for longer, or tasks were.
    """
    began = time.monotonic()
    async with asyncio.TaskGroup() as group:
        loading = group.create_task(load.run())
        while True:
            await asyncio.sleep(_SAMPLE_SECONDS)
            sample = await sampler.look()
            elapsed = time.monotonic() - began
            done = "finishing" if sample.done < sample.submitted else "cooling down"
            left = max(0.0, seconds + tail_seconds - elapsed)
            display.show(sampler.samples, left, done if loading.done() else "replaying")
            if loading.done() and sample.waiting + sample.in_flight + sample.replicas == 0:
                return
            if elapsed > seconds + longest_tail_seconds:
                raise DemoFailed(
                    f"{longest_tail_seconds:.0f} s after the trace's end there are {sample.waiting} tasks waiting, "
                    f"{sample.in_flight} in flight and {sample.replicas} replicas"
                )
