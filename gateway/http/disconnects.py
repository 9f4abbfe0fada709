"""Cancels in-flight work when the client disconnects."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, TypeVar

from gateway.http import ClientGone

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.types import Receive

T = TypeVar("T")


async def unless_gone(request: Request, work: Coroutine[None, None, T]) -> T:
    """Wait for `work`, and cancel it as soon as the client closes its connection.

    The request's body must have been received; what comes of one that is not wanted is discarded.

    Raises:
        ClientGone: The client closed its connection first.
    """
    task = asyncio.current_task()
    if task is None:
        raise RuntimeError("there is no task that could be cancelled")
    cancelled_before = task.cancelling()
    gone = False

    def cancel() -> None:
        nonlocal gone
        gone = True
        task.cancel()

    watcher = asyncio.create_task(_watch(request.receive, cancel))
    try:
        return await work
    except asyncio.CancelledError:
        # As asyncio.timeout does: ours only if nobody else wants this task to stop.
        if gone and task.uncancel() <= cancelled_before:
            raise ClientGone("the client closed the connection") from None
        raise
    finally:
        watcher.cancel()


async def _watch(receive: Receive, cancel: Callable[[], None]) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    cancel()
