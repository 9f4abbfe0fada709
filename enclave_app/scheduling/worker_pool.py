"""The threads that burn CPU, and who may use them.

As many threads as cores: more only take memory and caches from each other. They are threads of
their own, since one that hands its turn on still holds the interpreter's lock, and keeps its
successor and a core waiting. What waits does so in order of arrival, which is fair between
connections, since each has one request in flight.
Admission is by memory as well as by count: ten large pictures at once need more than a hundred
small ones.
A thread may do several jobs at once: the network reads its weights once for all their pictures, and
what surrounds it finds warm caches. It draws one after the other and prepares each before the next,
so that whoever comes meanwhile may still join; it never waits for one to come.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Generic, Protocol, TypeVar, cast

from blindgate.errors import BlindgateError
from enclave_app.scheduling.error_copies import own_copy

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

    @property
    def total(self) -> int:
        """How many bytes there are, free or not."""
        return self._total

    @contextmanager
    def hold(self, count: int, deadline: Deadline) -> Iterator[None]:
        """Hold `count` bytes for the time of the block, waiting for them if need be.

        What takes no memory waits for none: a gateway that gets no status within some seconds
        takes the enclave out of service, however many uploads wait.

        Raises:
            Overloaded: More than there are in total.
            DeadlineExceeded: They did not become free in time.
        """
        if not count:
            yield
            return
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

    def __call__(
        self, jobs: Iterator[J_contra], /, *, alone: Callable[[], bool]
    ) -> Sequence[R_co | Exception]:
        """Draw all jobs and do them.

        Args:
            jobs: One at least, and then whoever waits when the next one is drawn.
            alone: Whether no other thread has anything to do.

        Returns:
            For each job what came of it, or the error that is its own.
        """
        ...


class Compute(Generic[J, R]):
    """A fixed number of threads behind one bounded queue.

    Args:
        work: Does some jobs at once.
        threads: How many compute at once.
        queue: How many jobs may wait.
        together: How many jobs `work` can draw, if so many wait.
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
                first = self._waiting.popleft() if self._waiting else None
                if first is not None:
                    self._free -= 1
                elif self._closed:
                    return
                else:
                    self._asleep.append(alarm)
            if first is None:
                alarm.acquire()
            else:
                self._do(first)
                del first  # what it holds would stay as long as the thread sleeps

    def _do(self, first: _Ticket[J, R]) -> None:
        begun = [first]
        outcomes: Sequence[R | Exception]
        try:
            if (refusal := first.refusal()) is None:
                outcomes = self._work(self._draw(begun), alone=self._is_alone)
            else:
                outcomes = [refusal]
        except Exception as error:  # noqa: BLE001 - it belongs to whoever waits for it
            outcomes = [error] * len(begun)
        with self._lock:
            self._free += 1
        raised: set[int] = set()
        for ticket, outcome in zip(begun, outcomes, strict=True):
            if id(outcome) in raised:  # what failed was done for several jobs
                ticket.settle(cast("Exception", own_copy(cast("Exception", outcome))))
                continue
            if isinstance(outcome, Exception):
                raised.add(id(outcome))
            ticket.settle(outcome)

    def _draw(self, begun: list[_Ticket[J, R]]) -> Iterator[J]:
        """The job that was begun, and those that join it while they are drawn."""
        yield begun[0].job
        while len(begun) < self._together and (ticket := self._next()) is not None:
            begun.append(ticket)
            yield ticket.job

    def _next(self) -> _Ticket[J, R] | None:
        """Who may join and is still waited for."""
        while True:
            with self._lock:
                # Whoever is free has one each, sooner than it would come behind another one here.
                if len(self._waiting) <= self._free:
                    return None
                ticket = self._waiting.popleft()
            if (refusal := ticket.refusal()) is None:
                return ticket
            ticket.settle(refusal)

    def _is_alone(self) -> bool:
        return self._free == self.threads - 1 and not self._waiting
