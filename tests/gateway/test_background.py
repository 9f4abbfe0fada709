"""Background work goes on for as long as the gateway does."""

from __future__ import annotations

import asyncio

import pytest

from gateway.background import PAUSE, kept_running

pytestmark = pytest.mark.anyio


async def test_work_that_fails_is_begun_again_and_logged(caplog: pytest.LogCaptureFixture) -> None:
    begun = 0

    async def work() -> None:
        nonlocal begun
        begun += 1
        await asyncio.sleep(0)
        if begun < 3:
            raise KeyError("a fault of ours")

    await asyncio.wait_for(kept_running("the work", work, 0.001), 10)
    assert begun == 3
    assert caplog.text.count("background work failed and is begun again: the work") == 2
    assert "KeyError" in caplog.text
    assert PAUSE == 5


async def test_work_that_is_cancelled_ends() -> None:
    task = asyncio.create_task(kept_running("the work", asyncio.Event().wait, 0))  # type: ignore[arg-type]
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
