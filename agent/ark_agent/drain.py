"""End what runs when a worker stops: in order where it lets itself be ended, with the process where it does not."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence

import structlog

from ark_agent.attempt import Attempt
from ark_agent.reporter import Reporter
from ark_agent.reserving import Reserving

_CANCEL_SECONDS = 3.0
"""What a cancelled handler may take to end; the process ends with one that does not."""
_LAST_GIVE_BACK_SECONDS = 1.0


async def drain(
    running: Sequence[Attempt],
    reporter: Reporter,
    reserving: Reserving,
    log: structlog.stdlib.BoundLogger,
    *,
    grace_seconds: float,
    end: Callable[[int], object],
) -> None:
    """Let running tasks finish within the grace period, then give the rest back.

    A handler that does not let itself be cancelled is still at work: its task is given back in the moment in which the
    process ends.

    Args:
        running: the attempts that run; each leaves when it has ended.
        reporter: gives tasks back.
        reserving: pays what their calls have cost.
        log: of the worker.
        grace_seconds: how long they may take.
        end: ends the process.
    """
    waited_for = jobs(attempt for attempt in running if not attempt.is_given_up)
    if waited_for:
        log.info("draining", tasks=len(waited_for), grace_seconds=grace_seconds)
        await asyncio.wait(waited_for, timeout=grace_seconds)
    rest = list(running)
    for attempt in rest:
        attempt.drop()
    if not rest:
        return
    await asyncio.wait(jobs(rest), timeout=_CANCEL_SECONDS)
    still = [attempt for attempt in rest if attempt.job is not None and not attempt.job.done()]
    await reporter.give_back([attempt.task for attempt in rest if attempt not in still], log)
    if not still:
        return
    log.error("handlers ignored cancellation, exiting", tasks=[attempt.task.id for attempt in still])
    try:
        async with asyncio.timeout(_LAST_GIVE_BACK_SECONDS):
            await reserving.pay()
            await reporter.give_back([attempt.task for attempt in still if not attempt.is_given_up], log)
    except TimeoutError:
        log.error("tasks cannot be given back, others get them after the lease")
    end(1)


def jobs(attempts: Iterable[Attempt]) -> list[asyncio.Task[None]]:
    """Return the asyncio tasks that attempts run in."""
    return [attempt.job for attempt in attempts if attempt.job is not None]
