"""Work in the background that goes on for as long as the process does."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Final

_log = logging.getLogger(__name__)

#: Seconds before work that failed is begun again: soon enough to be of use, and no busy loop.
PAUSE: Final = 5.0


async def kept_running(
    name: str, work: Callable[[], Coroutine[None, None, None]], pause: float = PAUSE
) -> None:
    """Do work that does not end; begin it again if it fails for a reason of ours.

    Args:
        name: What the log calls it.
        work: Begins it.
        pause: Seconds before it is begun again.
    """
    while True:
        try:
            await work()
            return
        except Exception:  # noqa: BLE001 - whatever it is, nobody would notice that it ended
            _log.exception("background work failed and is begun again: %s", name)
        await asyncio.sleep(pause)
