"""Admission by memory: requests wait until the bytes that they need are free."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

from enclave_app.scheduling.deadline import Deadline
from enclave_app.scheduling.errors import DeadlineExceeded, Overloaded


class MemoryBudget:
    """A FIFO semaphore over bytes, for threads.

    Args:
        total: Bytes that may be held concurrently.
    """

    def __init__(self, total: int) -> None:
        self._total = total
        self._free = total
        self._waiters: deque[object] = deque()
        self._changed = threading.Condition()

    def __repr__(self) -> str:
        return f"<MemoryBudget {self._free} of {self._total} bytes free>"

    @property
    def total(self) -> int:
        """Bytes in total, free or held."""
        return self._total

    @contextmanager
    def hold(self, count: int, deadline: Deadline) -> Iterator[None]:
        """Hold `count` bytes during the block; wait for them if necessary.

        A request that takes no memory never waits: a gateway that gets no status within some
        seconds takes the enclave out of service, however many uploads are queued.

        Raises:
            Overloaded: More than the total.
            DeadlineExceeded: They did not become free in time.
        """
        if not count:
            yield
            return
        if count > self._total:
            raise Overloaded(f"{count} bytes are over the budget of {self._total}")
        with self._changed:
            if self._waiters or self._free < count:
                self._wait_for(count, deadline)
            self._free -= count
        try:
            yield
        finally:
            with self._changed:
                self._free += count
                if self._waiters:
                    self._changed.notify_all()

    def _wait_for(self, count: int, deadline: Deadline) -> None:
        # FIFO: otherwise small images could overtake a large one without end.
        waiter = object()
        self._waiters.append(waiter)
        try:
            granted = self._changed.wait_for(
                lambda: self._waiters[0] is waiter and self._free >= count, deadline.remaining()
            )
            if not granted:
                raise DeadlineExceeded("no memory became free in time")
        finally:
            self._waiters.remove(waiter)
            self._changed.notify_all()
