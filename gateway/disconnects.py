"""Noticing that a client has gone, so that nothing is computed for nobody."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import TYPE_CHECKING, TypeVar

from gateway.uploads import ClientGone

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.types import Receive

T = TypeVar("T")


async def unless_gone(request: Request, work: Coroutine[None, None, T]) -> T:
    """Wait for `work`, and cancel it as soon as the client closes its connection.

    The request's body must have been received.

    Raises:
        ClientGone: The client closed its connection first.
    """
    task = asyncio.current_task()
    if task is None:
        raise RuntimeError("nobody to wait for the work")
    cancelled_before = task.cancelling()
    waiting, gone = True, False

    def left(_: asyncio.Task[None]) -> None:
        nonlocal gone
        if waiting:
            gone = True
            task.cancel()

    watcher = asyncio.create_task(_gone(request.receive))
    watcher.add_done_callback(left)
    try:
        return await work
    except asyncio.CancelledError:
        # As asyncio.timeout does: ours only if nobody else wants this task to stop.
        if gone and task.uncancel() <= cancelled_before:
            raise ClientGone("the client closed the connection") from None
        raise
    finally:
        waiting = False
        watcher.cancel()


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
