"""The time of an attempt, which stands still while the attempt has to wait."""

from __future__ import annotations

import asyncio

import pytest

from ark_agent.attempt_clock import AttemptClock


async def test_the_context_ends_when_the_time_is_over() -> None:
    clock = AttemptClock(0.02)
    with pytest.raises(TimeoutError):
        async with clock:
            await asyncio.sleep(60)
    assert clock.is_over


async def test_waiting_takes_none_of_the_time() -> None:
    clock = AttemptClock(0.3)
    async with clock:
        with clock.paused():
            await asyncio.sleep(0.5)
    assert not clock.is_over


async def test_the_time_goes_on_after_the_last_of_several_pauses() -> None:
    clock = AttemptClock(0.1)

    async def attempt() -> None:
        async with clock:
            with clock.paused(), clock.paused():
                await asyncio.sleep(0.2)
            await asyncio.sleep(60)

    with pytest.raises(TimeoutError):
        await attempt()
    assert clock.is_over


async def test_an_error_in_it_passes() -> None:
    clock = AttemptClock(60)
    with pytest.raises(ValueError, match="x"):
        async with clock:
            raise ValueError("x")
    assert not clock.is_over


async def test_a_clock_that_is_left_is_not_over_however_long_what_follows_takes() -> None:
    """The report of an attempt that was too late may have to wait for Redis."""
    clock, loop, over = AttemptClock(0.01), asyncio.get_running_loop(), list[float]()

    async def outlive() -> None:
        async with clock:
            try:
                await asyncio.sleep(60)
            finally:
                over.append(clock.over_for(loop.time() + 5))

    with pytest.raises(TimeoutError):
        await outlive()
    assert over[0] >= 5, "a handler that does not let itself be cancelled"
    assert clock.is_over
    assert clock.over_for(loop.time() + 3600) == 0
