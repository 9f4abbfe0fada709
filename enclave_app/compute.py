"""The threads that burn CPU, and who may use them.

As many threads as cores: more only take memory and caches from each other. They are threads of
their own, since one that hands its turn on still holds the interpreter's lock, and keeps its
successor and a core waiting. What waits does so in order of arrival, which is fair between
connections, since each has one request in flight.
Admission is by memory as well as by count: ten large pictures at once need more than a hundred
small ones.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Generic, TypeVar

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


class _Job(Generic[T]):
    __slots__ = ("deadline", "future", "wanted", "work")

    def __init__(
        self, work: Callable[[], T], deadline: Deadline, wanted: Callable[[], bool]
    ) -> None:
        self.work = work
        self.deadline = deadline
        self.wanted = wanted
        self.future: Future[T] = Future()


class Compute:
    """A fixed number of threads behind one bounded queue.

    Args:
        threads: How many compute at once.
        queue: How many jobs may wait.
    """

    def __init__(self, threads: int, queue: int) -> None:
        self.threads = threads
        self._limit = queue
        self._jobs: deque[_Job[object]] = deque()
        self._busy = 0
        self._closed = False
        self._changed = threading.Condition()
        self._workers = [
            threading.Thread(target=self._serve, name=f"compute-{number}", daemon=True)
            for number in range(threads)
        ]
        for worker in self._workers:
            worker.start()

    def __repr__(self) -> str:
        return f"<Compute {self._busy} of {self.threads} busy, {len(self._jobs)} waiting>"

    @property
    def busy(self) -> int:
        """Jobs that run now."""
        return self._busy

    @property
    def queued(self) -> int:
        """Jobs that wait."""
        return len(self._jobs)

    @property
    def has_room(self) -> bool:
        """Whether one more job would be taken."""
        return not self._closed and len(self._jobs) < self._limit

    def run(
        self,
        work: Callable[[], T],
        deadline: Deadline,
        wanted: Callable[[], bool] = lambda: True,
    ) -> T:
        """Run `work` on one of the threads and wait for its result.

        Args:
            work: What to compute.
            deadline: Checked once more before `work` starts.
            wanted: Asked before `work` starts; False if whoever asked has left.

        Raises:
            Overloaded: The queue is full, or the threads have stopped.
            DeadlineExceeded: Its turn came too late, or nobody wanted it any more.
            Exception: Whatever `work` raises.
        """
        job = _Job(work, deadline, wanted)
        with self._changed:
            if not self.has_room:
                raise Overloaded("the queue is full")
            self._jobs.append(job)  # type: ignore[arg-type]
            self._changed.notify()
        return job.future.result()

    def close(self) -> None:
        """Finish what waits and stop the threads."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        for worker in self._workers:
            worker.join()

    def _serve(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._jobs or self._closed)
                if not self._jobs:
                    return
                job = self._jobs.popleft()
                self._busy += 1
            try:
                job.deadline.check()
                if not job.wanted():
                    raise DeadlineExceeded("whoever asked has left")
                job.future.set_result(job.work())
            except BaseException as error:  # noqa: BLE001 - it belongs to whoever waits for it
                job.future.set_exception(error)
            finally:
                with self._changed:
                    self._busy -= 1
                del job
