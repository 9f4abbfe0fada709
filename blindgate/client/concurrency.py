"""Concurrency primitives that the SDK needs twice: for asyncio and for threads.

`tools/generate_sync_client.py` drops the prefix `Async` or `async_` of these names, so both members
of a pair take the same arguments and keep the same promises.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeVar

import anyio

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Iterable
    from concurrent.futures import Future

_Argument = TypeVar("_Argument")
_Item = TypeVar("_Item")
_Result = TypeVar("_Result")

AsyncLock = anyio.Lock
Lock = threading.Lock


async def async_call_blocking(
    function: Callable[[_Argument], _Result], argument: _Argument
) -> _Result:
    """Call a function that blocks, such as one that reads a file, in another thread."""
    return await asyncio.to_thread(function, argument)


def call_blocking(function: Callable[[_Argument], _Result], argument: _Argument) -> _Result:
    """Call a function that blocks."""
    return function(argument)


async def async_map_in_order(
    function: Callable[[_Item], Awaitable[_Result]], items: Iterable[_Item], concurrency: int
) -> AsyncGenerator[_Result, None]:
    """Apply a function to several items concurrently; see `map_in_order`."""
    running = asyncio.Semaphore(concurrency)

    async def apply(item: _Item) -> _Result:
        async with running:
            return await function(item)

    started: deque[asyncio.Task[_Result]] = deque()
    try:
        for item in items:
            started.append(asyncio.create_task(apply(item)))
            if len(started) >= 2 * concurrency:
                yield await started.popleft()
        while started:
            yield await started.popleft()
    finally:
        for task in started:
            task.cancel()
        await asyncio.gather(*started, return_exceptions=True)


def map_in_order(
    function: Callable[[_Item], _Result], items: Iterable[_Item], concurrency: int
) -> Generator[_Result, None, None]:
    """Apply a function to several items concurrently.

    At most twice `concurrency` items are taken ahead of the caller: one slow item does not leave
    the other threads idle, and a long generator is not read into memory. Closing the iterator
    cancels what has not started and waits for what has.

    Args:
        function: Called with each item.
        items: Read as they are needed.
        concurrency: Calls that run at the same time.

    Yields:
        The results, in the order of the items.
    """
    with ThreadPoolExecutor(concurrency, "blindgate") as pool:
        started: deque[Future[_Result]] = deque()
        try:
            for item in items:
                started.append(pool.submit(function, item))
                if len(started) >= 2 * concurrency:
                    yield started.popleft().result()
            while started:
                yield started.popleft().result()
        finally:
            for future in started:
                future.cancel()
