"""The threads that burn CPU, and who may use them.

As many threads as cores: more only take memory and caches from each other. They are threads of
their own, since one that hands its turn on still holds the interpreter's lock, and keeps its
successor and a core waiting. What waits does so in order of arrival, which is fair between
connections, since each has one request in flight.
Admission is by memory as well as by count: ten large pictures at once need more than a hundred
small ones.
A thread may take several jobs at once (what waits anyway, never waiting for more): the network
reads its weights once for all their pictures, and what surrounds it finds warm caches.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Generic, Protocol, TypeVar

from blindgate.errors import BlindgateError

J = TypeVar("J")
R = TypeVar("R")
J_contra = TypeVar("J_contra", contravariant=True)
R_co = TypeVar("R_co", covariant=True)


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


class _Ticket(Generic[J, R]):
    """A job, and where its result goes."""

    __slots__ = ("_ready", "deadline", "job", "outcome", "wanted")

    def __init__(self, job: J, deadline: Deadline, wanted: Callable[[], bool]) -> None:
        self.job = job
        self.deadline = deadline
        self.wanted = wanted
        self.outcome: R | Exception = DeadlineExceeded("nobody answered")
        # A lock that somebody else opens: a tenth of what a Future or an Event takes.
        self._ready = threading.Lock()
        self._ready.acquire()

    def settle(self, outcome: R | Exception) -> None:
        del self.job  # whose memory may have another use as soon as there is a result
        self.outcome = outcome
        self._ready.release()

    def wait(self) -> R:
        self._ready.acquire()
        if isinstance(self.outcome, Exception):
            raise self.outcome
        return self.outcome

    def refusal(self) -> Exception | None:
        """Why the job need not begin any more."""
        try:
            self.deadline.check()
        except DeadlineExceeded as late:
            return late
        return None if self.wanted() else DeadlineExceeded("whoever asked has left")


class Work(Protocol[J_contra, R_co]):
    """What the threads do."""

    def __call__(self, jobs: Sequence[J_contra], /, *, alone: bool) -> Sequence[R_co | Exception]:
        """Do them."""
        ...


class Compute(Generic[J, R]):
    """A fixed number of threads behind one bounded queue.

    Args:
        work: Does some jobs at once; gives for each its result, or the error that is its own.
            Is told whether it is alone: no other thread has anything to do.
        threads: How many compute at once.
        queue: How many jobs may wait.
        together: How many jobs one thread takes at once, if they wait anyway.
    """

    def __init__(
        self,
        work: Work[J, R],
        *,
        threads: int,
        queue: int,
        together: int = 1,
    ) -> None:
        self.threads = threads
        self._work = work
        self._limit = queue
        self._together = together
        self._waiting: deque[_Ticket[J, R]] = deque()
        self._lock = threading.Lock()
        #: What wakes the threads that have nothing to do, the last to have worked last.
        self._asleep: list[threading.Lock] = []
        self._free = threads
        self._closed = False
        self._workers = [
            threading.Thread(target=self._serve, name=f"compute-{number}", daemon=True)
            for number in range(threads)
        ]
        for worker in self._workers:
            worker.start()

    def __repr__(self) -> str:
        return f"<Compute {self.busy} of {self.threads} busy, {len(self._waiting)} waiting>"

    @property
    def busy(self) -> int:
        """Threads that compute now."""
        return self.threads - self._free

    @property
    def queued(self) -> int:
        """Jobs that wait."""
        return len(self._waiting)

    @property
    def has_room(self) -> bool:
        """Whether one more job would be taken."""
        return not self._closed and len(self._waiting) < self._limit

    def run(self, job: J, deadline: Deadline, wanted: Callable[[], bool] = lambda: True) -> R:
        """Have a job done on one of the threads and wait for its result.

        Args:
            job: What to compute.
            deadline: Checked once more before the job begins.
            wanted: Asked before the job begins; False if whoever asked has left.

        Raises:
            Overloaded: The queue is full, or the threads have stopped.
            DeadlineExceeded: Its turn came too late, or nobody wanted it any more.
            Exception: The job's own error.
        """
        ticket: _Ticket[J, R] = _Ticket(job, deadline, wanted)
        with self._lock:
            if not self.has_room:
                raise Overloaded("the queue is full")
            self._waiting.append(ticket)
            if self._asleep:
                # The last to fall asleep: its core and its caches still know the work.
                self._asleep.pop().release()
        return ticket.wait()

    def close(self) -> None:
        """Finish what waits and stop the threads."""
        with self._lock:
            self._closed = True
            while self._asleep:
                self._asleep.pop().release()
        for worker in self._workers:
            worker.join()

    def _serve(self) -> None:
        alarm = threading.Lock()
        alarm.acquire()
        while True:
            with self._lock:
                tickets = self._take()
                if not tickets:
                    if self._closed:
                        return
                    self._asleep.append(alarm)
            if tickets:
                self._do(tickets)
                tickets.clear()  # what it holds would stay as long as the thread sleeps
            else:
                alarm.acquire()

    def _take(self) -> list[_Ticket[J, R]]:
        """The jobs that the calling thread does next; it is free until it has some."""
        # Whoever else is free has one each, sooner than it would come behind another one here.
        count = min(self._together, max(len(self._waiting) - (self._free - 1), 1))
        tickets = [self._waiting.popleft() for _ in range(min(count, len(self._waiting)))]
        if tickets:
            self._free -= 1
        return tickets

    def _do(self, tickets: list[_Ticket[J, R]]) -> None:
        begun = []
        for ticket in tickets:
            if (refusal := ticket.refusal()) is None:
                begun.append(ticket)
            else:
                ticket.settle(refusal)
        outcomes: Sequence[R | Exception] = ()
        try:
            if begun:
                alone = self._free == self.threads - 1 and not self._waiting
                outcomes = self._work([ticket.job for ticket in begun], alone=alone)
        except Exception as error:  # noqa: BLE001 - it belongs to whoever waits for it
            outcomes = [error] * len(begun)
        with self._lock:
            self._free += 1
        for ticket, outcome in zip(begun, outcomes, strict=True):
            ticket.settle(outcome)
