"""Who may use the CPU and the memory of the worker."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import islice
from typing import Any

import pytest

from enclave_app.scheduling.deadline import Deadline
from enclave_app.scheduling.errors import DeadlineExceeded, Overloaded
from enclave_app.scheduling.memory_budget import MemoryBudget
from enclave_app.scheduling.worker_pool import WorkerPool

SOON = 10.0

Job = Callable[[], Any]


def call_each(jobs: Iterable[Job], *, alone: Callable[[], bool]) -> list[Any]:
    """Each job by itself; what it raises is its outcome."""
    outcomes: list[Any] = []
    for job in jobs:
        try:
            outcomes.append(job())
        except Exception as error:  # noqa: BLE001 - the job's own
            outcomes.append(error)
    return outcomes


@pytest.fixture
def one_thread() -> Iterator[WorkerPool[Job, Any]]:
    compute: WorkerPool[Job, Any] = WorkerPool(call_each, threads=1, queue=2)
    yield compute
    compute.close()


class Blocker:
    """A job that runs until it is let go."""

    def __init__(self) -> None:
        self.started = threading.Event()
        self.let_go = threading.Event()

    def __call__(self) -> str:
        self.started.set()
        assert self.let_go.wait(SOON)
        return "done"


def wait_for_queue(compute: WorkerPool[Any, Any], length: int) -> None:
    ends = Deadline(SOON)
    while compute.queued != length:
        ends.check()
        time.sleep(0.001)


def test_a_job_gives_its_result(one_thread: WorkerPool[Job, Any]) -> None:
    assert one_thread.run(lambda: 6 * 7, Deadline(SOON)) == 42


def test_a_job_gives_its_own_error(one_thread: WorkerPool[Job, Any]) -> None:
    def fail() -> None:
        raise KeyError("its own")

    with pytest.raises(KeyError, match="its own"):
        one_thread.run(fail, Deadline(SOON))
    assert one_thread.run(lambda: "still there", Deadline(SOON)) == "still there"


def test_a_full_queue_is_said_at_once(one_thread: WorkerPool[Job, Any]) -> None:
    blocker = Blocker()
    with ThreadPoolExecutor(3) as pool:
        running = pool.submit(one_thread.run, blocker, Deadline(SOON))
        assert blocker.started.wait(SOON)
        waiting = [pool.submit(one_thread.run, lambda: "later", Deadline(SOON)) for _ in range(2)]
        wait_for_queue(one_thread, 2)
        with pytest.raises(Overloaded):
            one_thread.run(lambda: None, Deadline(SOON))
        blocker.let_go.set()
        assert running.result() == "done"
        assert [future.result() for future in waiting] == ["later", "later"]


def test_jobs_run_in_the_order_of_their_arrival(one_thread: WorkerPool[Job, Any]) -> None:
    blocker = Blocker()
    ran: list[int] = []
    with ThreadPoolExecutor(3) as pool:
        pool.submit(one_thread.run, blocker, Deadline(SOON))
        assert blocker.started.wait(SOON)
        for number in range(2):
            pool.submit(one_thread.run, partial(ran.append, number), Deadline(SOON))
            wait_for_queue(one_thread, number + 1)
        blocker.let_go.set()
    assert ran == [0, 1]


@pytest.mark.parametrize("reason", ["late", "left"])
def test_work_that_nobody_waits_for_is_not_begun(
    one_thread: WorkerPool[Job, Any], reason: str
) -> None:
    now = 0.0
    deadline = Deadline(5, clock=lambda: now)
    ran = []
    blocker = Blocker()
    with ThreadPoolExecutor(2) as pool:
        pool.submit(one_thread.run, blocker, Deadline(SOON))
        assert blocker.started.wait(SOON)
        future = pool.submit(
            one_thread.run, lambda: ran.append(1), deadline, lambda: reason != "left"
        )
        wait_for_queue(one_thread, 1)
        now = 6.0 if reason == "late" else 1.0
        blocker.let_go.set()
        with pytest.raises(DeadlineExceeded):
            future.result()
    assert ran == []


def test_as_many_jobs_run_at_once_as_there_are_threads() -> None:
    compute: WorkerPool[Job, Any] = WorkerPool(call_each, threads=2, queue=8)
    together = threading.Barrier(2, timeout=SOON)
    with ThreadPoolExecutor(2) as pool:
        futures = [pool.submit(compute.run, together.wait, Deadline(SOON)) for _ in range(2)]
        assert sorted(future.result() for future in futures) == [0, 1]
    compute.close()


class Recorder:
    """Work that is told apart by how many jobs come at once, and whether it was alone."""

    def __init__(self) -> None:
        self.runs: list[tuple[list[object], bool]] = []
        self.started = threading.Semaphore(0)
        self.let_go = threading.Semaphore(0)

    def __call__(self, jobs: Iterable[object], *, alone: Callable[[], bool]) -> list[object]:
        drawn = list(jobs)
        self.runs.append((drawn, alone()))
        self.started.release()
        assert self.let_go.acquire(timeout=SOON)
        return drawn

    def finish(self, runs: int) -> None:
        self.let_go.release(runs)


def test_what_waits_anyway_is_done_together_and_everybody_gets_his_own() -> None:
    work = Recorder()
    compute: WorkerPool[object, object] = WorkerPool(work, threads=1, queue=8, together=2)
    with ThreadPoolExecutor(4) as pool:
        futures = [pool.submit(compute.run, 0, Deadline(SOON))]
        assert work.started.acquire(timeout=SOON)
        for number in (1, 2, 3):
            futures.append(pool.submit(compute.run, number, Deadline(SOON)))
            wait_for_queue(compute, number)
        work.finish(3)
        assert [future.result() for future in futures] == [0, 1, 2, 3]
    assert [jobs for jobs, _ in work.runs] == [[0], [1, 2], [3]]
    compute.close()


def test_nobody_waits_behind_another_one_while_a_thread_is_free() -> None:
    work = Recorder()
    compute: WorkerPool[object, object] = WorkerPool(work, threads=2, queue=8, together=2)
    with ThreadPoolExecutor(4) as pool:
        futures = [pool.submit(compute.run, number, Deadline(SOON)) for number in (0, 1)]
        assert work.started.acquire(timeout=SOON)
        assert work.started.acquire(timeout=SOON)
        assert sorted(len(jobs) for jobs, _ in work.runs) == [1, 1]
        work.finish(2)
        assert sorted(str(future.result()) for future in futures) == ["0", "1"]
    compute.close()


def test_work_is_told_when_it_is_alone() -> None:
    work = Recorder()
    compute: WorkerPool[object, object] = WorkerPool(work, threads=2, queue=8)
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(compute.run, 0, Deadline(SOON))
        assert work.started.acquire(timeout=SOON)
        second = pool.submit(compute.run, 1, Deadline(SOON))
        assert work.started.acquire(timeout=SOON)
        work.finish(2)
        first.result()
        second.result()
    assert work.runs == [([0], True), ([1], False)]
    compute.close()


def test_who_has_left_does_not_keep_the_other_one_from_being_done() -> None:
    compute: WorkerPool[Job, Any] = WorkerPool(call_each, threads=1, queue=4, together=2)
    blocker = Blocker()
    with ThreadPoolExecutor(3) as pool:
        pool.submit(compute.run, blocker, Deadline(SOON))
        assert blocker.started.wait(SOON)
        left = pool.submit(compute.run, lambda: "nobody", Deadline(SOON), lambda: False)
        wait_for_queue(compute, 1)
        stays = pool.submit(compute.run, lambda: "found", Deadline(SOON))
        wait_for_queue(compute, 2)
        blocker.let_go.set()
        assert stays.result() == "found"
        with pytest.raises(DeadlineExceeded):
            left.result()
    compute.close()


@pytest.mark.parametrize("draws", [0, 1])
def test_work_that_fails_as_a_whole_fails_for_everybody(draws: int) -> None:
    def fail(jobs: Iterable[int], *, alone: Callable[[], bool]) -> list[object]:
        assert list(islice(jobs, draws)) == [1] * draws
        raise ValueError("all of them")

    compute: WorkerPool[int, object] = WorkerPool(fail, threads=1, queue=4, together=2)
    for _ in range(2):
        with pytest.raises(ValueError, match="all of them"):
            compute.run(1, Deadline(SOON))
    assert compute.busy == 0
    compute.close()


class OneByOne:
    """Work that takes its time over each job before it draws the next."""

    def __init__(self) -> None:
        self.runs: list[list[object]] = []
        self.drawn = threading.Semaphore(0)
        self.goes_on = threading.Semaphore(0)

    def __call__(self, jobs: Iterable[object], *, alone: Callable[[], bool]) -> list[object]:
        run: list[object] = []
        self.runs.append(run)
        for job in jobs:
            run.append(job)
            self.drawn.release()
            assert self.goes_on.acquire(timeout=SOON)
        return list(run)


def test_who_comes_while_another_one_is_prepared_joins_him() -> None:
    work = OneByOne()
    compute: WorkerPool[object, object] = WorkerPool(work, threads=1, queue=8, together=3)
    with ThreadPoolExecutor(6) as pool:
        futures = [pool.submit(compute.run, 0, Deadline(SOON))]
        assert work.drawn.acquire(timeout=SOON)
        left = pool.submit(compute.run, "nobody", Deadline(SOON), lambda: False)
        wait_for_queue(compute, 1)
        for number in (1, 2, 3):
            futures.append(pool.submit(compute.run, number, Deadline(SOON)))
            wait_for_queue(compute, 1 + number)
        work.goes_on.release(4)
        assert [future.result() for future in futures] == [0, 1, 2, 3]
        with pytest.raises(DeadlineExceeded):
            left.result()
    assert work.runs == [[0, 1, 2], [3]]
    compute.close()


def test_nobody_joins_who_has_a_thread_of_his_own() -> None:
    work = OneByOne()
    compute: WorkerPool[object, object] = WorkerPool(work, threads=2, queue=8, together=3)
    with ThreadPoolExecutor(3) as pool:
        futures = []
        for number in (0, 1):
            futures.append(pool.submit(compute.run, number, Deadline(SOON)))
            assert work.drawn.acquire(timeout=SOON)
        futures.append(pool.submit(compute.run, 2, Deadline(SOON)))
        wait_for_queue(compute, 1)
        work.goes_on.release(3)
        assert [future.result() for future in futures] == [0, 1, 2]
    assert sorted(map(len, work.runs)) == [1, 2]
    compute.close()


def test_closing_finishes_what_waits_and_refuses_more() -> None:
    compute: WorkerPool[Job, Any] = WorkerPool(call_each, threads=1, queue=2)
    blocker = Blocker()
    with ThreadPoolExecutor(3) as pool:
        running = pool.submit(compute.run, blocker, Deadline(SOON))
        assert blocker.started.wait(SOON)
        waiting = pool.submit(compute.run, lambda: "finished", Deadline(SOON))
        wait_for_queue(compute, 1)
        closing = pool.submit(compute.close)
        blocker.let_go.set()
        assert running.result() == "done"
        assert waiting.result() == "finished"
        closing.result()
    with pytest.raises(Overloaded):
        compute.run(lambda: None, Deadline(SOON))


def test_memory_is_given_back() -> None:
    budget = MemoryBudget(100)
    for _ in range(3):
        with budget.hold(100, Deadline(0.01)):
            pass
    assert repr(budget) == "<MemoryBudget 100 of 100 bytes free>"


def test_more_memory_than_there_is_can_never_be_had() -> None:
    with pytest.raises(Overloaded), MemoryBudget(100).hold(101, Deadline(SOON)):
        pass


def test_what_takes_no_memory_does_not_queue_for_it() -> None:
    budget = MemoryBudget(100)
    over = threading.Event()

    def queues(count: int) -> bool:
        try:
            with budget.hold(count, Deadline(0)):
                return False
        except DeadlineExceeded:
            return True

    def wait_for_all() -> None:
        with budget.hold(100, Deadline(SOON)):
            assert over.is_set()

    with ThreadPoolExecutor(1) as pool:
        with budget.hold(60, Deadline(SOON)):
            waiting = pool.submit(wait_for_all)
            ends = Deadline(SOON)
            while not queues(1):
                ends.check()
            assert not queues(0)
            over.set()
        waiting.result()


def test_waiting_for_memory_ends_at_the_deadline() -> None:
    budget = MemoryBudget(100)
    with (
        budget.hold(60, Deadline(SOON)),
        pytest.raises(DeadlineExceeded),
        budget.hold(60, Deadline(0.01)),
    ):
        pass
    with budget.hold(100, Deadline(0.01)):
        pass


def wait_for_turns(budget: MemoryBudget, length: int) -> None:
    ends = Deadline(SOON)
    while len(budget._waiters) != length:
        ends.check()
        time.sleep(0.001)


def test_a_large_demand_is_not_passed_by_small_ones() -> None:
    """Each deadline is an hour away: only memory that is given back wakes those who wait."""
    budget = MemoryBudget(100)
    order: list[str] = []

    def take(name: str, count: int) -> None:
        with budget.hold(count, Deadline(3600)):
            order.append(name)

    with ThreadPoolExecutor(3) as pool:
        with budget.hold(60, Deadline(SOON)):
            large = pool.submit(take, "large", 100)
            wait_for_turns(budget, 1)
            small = [pool.submit(take, "small", 1)]
            wait_for_turns(budget, 2)
            small.append(pool.submit(take, "small", 1))
            wait_for_turns(budget, 3)
        large.result(SOON)
        for each in small:
            each.result(SOON)
    assert order == ["large", "small", "small"]


def test_memory_that_is_given_back_wakes_who_waits_for_it() -> None:
    budget = MemoryBudget(100)
    with ThreadPoolExecutor(1) as pool:

        def take() -> None:
            with budget.hold(50, Deadline(3600)):
                pass

        with budget.hold(60, Deadline(SOON)):
            waiting = pool.submit(take)
            wait_for_turns(budget, 1)
        waiting.result(SOON)


def test_who_gives_up_lets_those_behind_pass() -> None:
    budget = MemoryBudget(100)

    def take_small() -> None:
        with budget.hold(10, Deadline(3600)):
            pass

    def take_large(deadline: Deadline) -> None:
        with budget.hold(100, deadline):
            raise AssertionError

    with ThreadPoolExecutor(2) as pool, budget.hold(60, Deadline(SOON)):
        large = pool.submit(take_large, Deadline(0.3))
        wait_for_turns(budget, 1)
        small = pool.submit(take_small)
        with pytest.raises(DeadlineExceeded):
            large.result(SOON)
        small.result(SOON)


def test_jobs_that_fail_together_raise_an_exception_each() -> None:
    """Raising one instance in several threads mixes their tracebacks."""
    blocker = Blocker()

    def work(jobs: Iterable[object], *, alone: Callable[[], bool]) -> list[object]:
        drawn = list(jobs)
        if drawn == ["first"]:
            blocker()
        else:
            raise KeyError("all of them")
        return drawn

    compute: WorkerPool[object, object] = WorkerPool(work, threads=1, queue=8, together=3)

    def failed(number: int) -> Exception:
        try:
            compute.run(number, Deadline(SOON))
        except KeyError as error:
            return error
        raise AssertionError

    with ThreadPoolExecutor(4) as pool:
        first = pool.submit(compute.run, "first", Deadline(SOON))
        assert blocker.started.wait(SOON)
        failing = []
        for number in range(3):
            failing.append(pool.submit(failed, number))
            wait_for_queue(compute, number + 1)
        blocker.let_go.set()
        first.result(SOON)
        errors = [each.result(SOON) for each in failing]
    compute.close()
    assert len({id(each) for each in errors}) == 3
    assert [each.args for each in errors] == [("all of them",)] * 3


def test_a_failure_that_work_gives_to_several_jobs_is_raised_by_each_on_its_own() -> None:
    shared = ValueError("of the network")
    blocker = Blocker()

    def work(jobs: Iterable[object], *, alone: Callable[[], bool]) -> list[object]:
        drawn = list(jobs)
        if drawn == ["first"]:
            blocker()
            return drawn
        return [shared for _ in drawn]

    compute: WorkerPool[object, object] = WorkerPool(work, threads=1, queue=8, together=2)
    errors: list[Exception] = []

    def fail(number: int) -> None:
        with pytest.raises(ValueError, match="of the network") as failed:
            compute.run(number, Deadline(SOON))
        errors.append(failed.value)

    with ThreadPoolExecutor(3) as pool:
        first = pool.submit(compute.run, "first", Deadline(SOON))
        assert blocker.started.wait(SOON)
        both = []
        for number in range(2):
            both.append(pool.submit(fail, number))
            wait_for_queue(compute, number + 1)
        blocker.let_go.set()
        first.result(SOON)
        for each in both:
            each.result(SOON)
    compute.close()
    assert len({id(each) for each in errors}) == 2
