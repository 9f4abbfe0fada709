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
    task = asyncio.create_task(work)
    watcher = asyncio.create_task(_gone(request.receive))
    watcher.add_done_callback(lambda _: task.cancel())
    try:
        return await task
    except asyncio.CancelledError:
        if watcher.done() and not watcher.cancelled() and not _is_cancelled():
            raise ClientGone("the client closed the connection") from None
        raise
    finally:
        watcher.cancel()


def _is_cancelled() -> bool:
    """Whether the task that runs this was itself asked to stop."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
