"""Who may burn CPU, who may take memory, and in which order.

As many compute at once as there are cores: more only take memory and caches from each other.
What waits does so in order of arrival, which is fair between connections, since each has one
request in flight.
Admission is by memory as well as by count: ten large pictures at once need more than a hundred
small ones.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from blindgate.errors import BlindgateError

T = TypeVar("T")


class Overloaded(BlindgateError):
    """Too much waits already."""


class DeadlineExceeded(BlindgateError):
    """Nobody waits for this answer any more."""


class Deadline:
    """The moment after which an answer is of no use, on the monotonic clock."""

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._at = clock() + seconds

    def remaining(self) -> float:
        """Seconds left, zero at least."""
        return max(0.0, self._at - self._clock())

    def check(self) -> None:
        """Do nothing in time.

        Raises:
            DeadlineExceeded: It is too late.
        """
        if self._clock() >= self._at:
            raise DeadlineExceeded("the deadline has passed")


class MemoryBudget:
    """Bytes that may be taken at once, handed out in order of asking.

    Args:
        total: How many there are.
    """

    def __init__(self, total: int) -> None:
        self._total = total
        self._free = total
        self._turns: deque[object] = deque()
        self._changed = threading.Condition()

    def __repr__(self) -> str:
        return f"<MemoryBudget {self._free} of {self._total} bytes free>"

    @contextmanager
    def hold(self, count: int, deadline: Deadline) -> Iterator[None]:
        """Hold `count` bytes for the time of the block, waiting for them if need be.

        Raises:
            Overloaded: More than there are in total.
            DeadlineExceeded: They did not become free in time.
        """
        if count > self._total:
            raise Overloaded(f"{count} bytes are over the budget of {self._total}")
        with self._changed:
            if self._turns or self._free < count:
                self._wait_for(count, deadline)
            self._free -= count
        try:
            yield
        finally:
            with self._changed:
                self._free += count
                if self._turns:
                    self._changed.notify_all()

    def _wait_for(self, count: int, deadline: Deadline) -> None:
        # First come, first served: a large picture is not passed by small ones for ever.
        turn = object()
        self._turns.append(turn)
        try:
            granted = self._changed.wait_for(
                lambda: self._turns[0] is turn and self._free >= count, deadline.remaining()
            )
            if not granted:
                raise DeadlineExceeded("no memory became free in time")
        finally:
            self._turns.remove(turn)
            self._changed.notify_all()


class Compute:
    """Turns at computing: so many at once, the rest in one bounded queue.

    Whoever asks computes in its own thread, so that nothing is handed over between threads.
    What changes hands is the turn: it passes straight to whoever has waited longest, and as long
    as somebody waits no turn is free for a newcomer to take.

    Args:
        threads: How many compute at once.
        queue: How many may wait.
    """

    def __init__(self, threads: int, queue: int) -> None:
        self.threads = threads
        self._limit = queue
        self._busy = 0
        # Each is held locked by one that waits; to release it is to give it a turn.
        self._waiting: deque[threading.Lock] = deque()
        self._closed = False
        self._lock = threading.Lock()
        self._idle = threading.Condition(self._lock)

    def __repr__(self) -> str:
        return f"<Compute {self._busy} of {self.threads} busy, {len(self._waiting)} waiting>"

    @property
    def busy(self) -> int:
        """How many compute now."""
        return self._busy

    @property
    def queued(self) -> int:
        """How many wait."""
        return len(self._waiting)

    @property
    def has_room(self) -> bool:
        """Whether one more would be taken."""
        return not self._closed and len(self._waiting) < self._limit

    def run(
        self,
        work: Callable[[], T],
        deadline: Deadline,
        wanted: Callable[[], bool] = lambda: True,
    ) -> T:
        """Wait for a turn, then do `work` in it.

        Args:
            work: What to compute.
            deadline: Checked once more before `work` starts.
            wanted: Asked before `work` starts; False if whoever asked has left.

        Raises:
            Overloaded: The queue is full, or closed.
            DeadlineExceeded: Its turn came too late, or nobody wanted it any more.
            Exception: Whatever `work` raises.
        """
        self._take_turn()
        try:
            deadline.check()
            if not wanted():
                raise DeadlineExceeded("whoever asked has left")
            return work()
        finally:
            self._pass_turn_on()

    def close(self) -> None:
        """Take no more, and wait until all that was taken is done."""
        with self._lock:
            self._closed = True
            self._idle.wait_for(lambda: not self._busy)

    def _take_turn(self) -> None:
        with self._lock:
            if not self.has_room:
                raise Overloaded("the queue is full")
            if self._busy < self.threads:
                self._busy += 1
                return
            turn = threading.Lock()
            turn.acquire()
            self._waiting.append(turn)
        turn.acquire()

    def _pass_turn_on(self) -> None:
        with self._lock:
            if self._waiting:
                self._waiting.popleft().release()
                return
            self._busy -= 1
            if not self._busy:
                self._idle.notify_all()
