"""The memory of all bodies: never more than there is, and in order of asking."""

from __future__ import annotations

import asyncio

import pytest

from gateway.http.byte_semaphore import ByteBudget

pytestmark = pytest.mark.anyio


async def test_what_fits_is_there_at_once() -> None:
    budget = ByteBudget(10)
    assert await budget.wait(10, 0)
    assert budget.held == 10


async def test_what_does_not_fit_waits_until_it_does() -> None:
    budget = ByteBudget(10)
    assert budget.take(8)
    waiting = asyncio.create_task(budget.wait(5, 5))
    await asyncio.sleep(0)
    assert (budget.waiting, budget.held) == (1, 8)
    budget.give_back(8)
    assert await waiting
    assert (budget.waiting, budget.held) == (0, 5)


async def test_nobody_waits_longer_than_he_said() -> None:
    budget = ByteBudget(10)
    assert budget.take(8)
    assert not await budget.wait(5, 0.01)
    assert repr(budget) == "<ByteBudget 8 of 10 bytes, 0 waiting>"


async def test_what_can_never_fit_is_not_waited_for() -> None:
    assert not await ByteBudget(10).wait(11, 60)


async def test_a_large_body_is_not_passed_by_small_ones() -> None:
    budget = ByteBudget(10)
    assert budget.take(6)
    large = asyncio.create_task(budget.wait(9, 5))
    await asyncio.sleep(0)
    assert not budget.take(1)
    small = asyncio.create_task(budget.wait(1, 5))
    await asyncio.sleep(0)
    budget.give_back(6)
    assert [await large, await small] == [True, True]
    assert budget.held == 10


async def test_whoever_gives_up_lets_the_next_one_through() -> None:
    budget = ByteBudget(10)
    assert budget.take(6)
    large = asyncio.create_task(budget.wait(9, 0.01))
    await asyncio.sleep(0)
    small = asyncio.create_task(budget.wait(4, 5))
    assert [await large, await small] == [False, True]
    assert budget.held == 10


@pytest.mark.parametrize("served", [True, False])
async def test_who_is_cancelled_holds_nothing(served: bool) -> None:
    budget = ByteBudget(10)
    assert budget.take(10)
    waiting = asyncio.create_task(budget.wait(10, 5))
    await asyncio.sleep(0)
    if served:  # in the same turn of the loop
        budget.give_back(10)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    if not served:
        budget.give_back(10)
    assert repr(budget) == "<ByteBudget 0 of 10 bytes, 0 waiting>"


async def test_a_larger_total_wakes_those_who_wait() -> None:
    budget = ByteBudget(10)
    assert budget.take(10)
    first, second = (asyncio.create_task(budget.wait(10, 60)) for _ in range(2))
    await asyncio.sleep(0)
    budget.total = 20
    assert await asyncio.wait_for(first, 5)
    assert (budget.held, budget.waiting) == (20, 1)
    budget.total = 15
    assert budget.waiting == 1
    budget.total = 30
    assert await asyncio.wait_for(second, 5)
