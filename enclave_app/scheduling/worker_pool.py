"""Worker pool for CPU-bound inference: one thread per core, FIFO, batches of what is queued.

More threads than cores only take memory and caches from each other. The queue is FIFO, which is
fair between connections, since each has one request in flight. It is bounded: what does not fit is
rejected immediately.

A thread takes a batch: the network reads its weights once for all images of a batch. It takes one
job after the other and prepares each one before it takes the next, so jobs that arrive during
preparation join the batch; it never waits for more jobs to arrive.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Generic, Protocol, TypeVar, cast

from enclave_app.scheduling.deadline import Deadline
from enclave_app.scheduling.error_copies import own_copy
from enclave_app.scheduling.errors import DeadlineExceeded, Overloaded

J = TypeVar("J")
R = TypeVar("R")
J_contra = TypeVar("J_contra", contravariant=True)
R_co = TypeVar("R_co", covariant=True)


class _Ticket(Generic[J, R]):
    """A queued job and its result."""

    __slots__ = ("_ready", "deadline", "job", "outcome", "wanted")

    def __init__(self, job: J, deadline: Deadline, wanted: Callable[[], bool]) -> None:
        self.job = job
        self.deadline = deadline
        self.wanted = wanted
        self.outcome: R | Exception = DeadlineExceeded("the job was not done")
        # A lock that another thread releases: a tenth of the cost of a Future or an Event.
        self._ready = threading.Lock()
        self._ready.acquire()

    def settle(self, outcome: R | Exception) -> None:
        del self.job  # its memory may be reused as soon as there is a result
        self.outcome = outcome
        self._ready.release()

    def wait(self) -> R:
        self._ready.acquire()
        if isinstance(self.outcome, Exception):
            raise self.outcome
        return self.outcome

    def refusal(self) -> Exception | None:
        """Why the job is not started any more; None if it is."""
        try:
            self.deadline.check()
        except DeadlineExceeded as late:
            return late
        return None if self.wanted() else DeadlineExceeded("the client has disconnected")


class Work(Protocol[J_contra, R_co]):
    """A batch of jobs, done by one thread."""

    def __call__(
        self, jobs: Iterator[J_contra], /, *, alone: Callable[[], bool]
    ) -> Sequence[R_co | Exception]:
        """Take all jobs from the iterator and do them.

        Args:
            jobs: At least one, then those that are queued when the next one is taken.
            alone: Whether all other threads are idle.

        Returns:
            The result of each job, or its error.
        """
        ...


class WorkerPool(Generic[J, R]):
    """A fixed number of threads behind one bounded FIFO queue.

    Args:
        work: Does a batch of jobs.
        threads: How many batches run concurrently.
        queue: How many jobs may be queued.
        together: The largest batch.
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
        #: The locks that idle threads sleep on; the one that worked last is at the end.
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
        return f"<WorkerPool {self.busy} of {self.threads} busy, {len(self._waiting)} queued>"

    @property
    def busy(self) -> int:
        """Threads that run a batch."""
        return self.threads - self._free

    @property
    def queued(self) -> int:
        """Jobs in the queue."""
        return len(self._waiting)

    @property
    def has_room(self) -> bool:
        """Whether one more job would be accepted."""
        return not self._closed and len(self._waiting) < self._limit

    def run(self, job: J, deadline: Deadline, wanted: Callable[[], bool] = lambda: True) -> R:
        """Run a job on one of the threads and wait for its result.

        Args:
            job: The job.
            deadline: Checked again before the job starts.
            wanted: Called before the job starts; False if the client has disconnected.

        Raises:
            Overloaded: The queue is full, or the threads have stopped.
            DeadlineExceeded: It was queued for too long, or the client has disconnected.
            Exception: The job's own error.
        """
        ticket: _Ticket[J, R] = _Ticket(job, deadline, wanted)
        with self._lock:
            if not self.has_room:
                raise Overloaded("the queue is full")
            self._waiting.append(ticket)
            if self._asleep:
                # The last one to become idle: the caches of its core are warm.
                self._asleep.pop().release()
        return ticket.wait()

    def close(self) -> None:
        """Finish the queue and stop the threads."""
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
                del first  # otherwise its result is kept as long as the thread sleeps

    def _do(self, first: _Ticket[J, R]) -> None:
        begun = [first]
        outcomes: Sequence[R | Exception]
        try:
            if (refusal := first.refusal()) is None:
                outcomes = self._work(self._draw(begun), alone=self._is_alone)
            else:
                outcomes = [refusal]
        except Exception as error:  # noqa: BLE001 - re-raised in the thread that waits
            outcomes = [error] * len(begun)
        with self._lock:
            self._free += 1
        raised: set[int] = set()
        for ticket, outcome in zip(begun, outcomes, strict=True):
            if id(outcome) in raised:  # one failure of several jobs
                ticket.settle(cast("Exception", own_copy(cast("Exception", outcome))))
                continue
            if isinstance(outcome, Exception):
                raised.add(id(outcome))
            ticket.settle(outcome)

    def _draw(self, begun: list[_Ticket[J, R]]) -> Iterator[J]:
        """The first job of the batch, and those that join it while they are taken."""
        yield begun[0].job
        while len(begun) < self._together and (ticket := self._next()) is not None:
            begun.append(ticket)
            yield ticket.job

    def _next(self) -> _Ticket[J, R] | None:
        """The next job that may join the batch and is still wanted."""
        while True:
            with self._lock:
                # An idle thread starts a job sooner than this batch would.
                if len(self._waiting) <= self._free:
                    return None
                ticket = self._waiting.popleft()
            if (refusal := ticket.refusal()) is None:
                return ticket
            ticket.settle(refusal)

    def _is_alone(self) -> bool:
        return self._free == self.threads - 1 and not self._waiting
