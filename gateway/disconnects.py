"""Noticing that a client has gone, so that nothing is computed for nobody."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
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
    gone = False

    def left() -> None:
        nonlocal gone
        gone = True
        task.cancel()

    with _told(request, left):
        try:
            return await work
        except asyncio.CancelledError:
            # As asyncio.timeout does: ours only if nobody else wants this task to stop.
            if gone and task.uncancel() <= cancelled_before:
                raise ClientGone("the client closed the connection") from None
            raise


@contextmanager
def _told(request: Request, left: Callable[[], None]) -> Iterator[None]:
    """Have `left` called if the client goes away before the end of the block."""
    when_gone = getattr(request.state, "when_gone", None)
    if when_gone is not None:
        forget = when_gone(left)
        try:
            yield
        finally:
            forget()
        return
    # Another server than ours: it only tells whoever asks to receive more.
    watcher = asyncio.create_task(_gone(request.receive, left))
    try:
        yield
    finally:
        watcher.cancel()


async def _gone(receive: Receive, left: Callable[[], None]) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    left()
