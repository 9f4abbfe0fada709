"""Who may use the CPU and the memory of the worker."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from enclave_app.compute import Compute, Deadline, DeadlineExceeded, MemoryBudget, Overloaded

SOON = 10.0


@pytest.fixture
def one_thread() -> Iterator[Compute]:
    compute = Compute(threads=1, queue=2)
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


def wait_for_queue(compute: Compute, length: int) -> None:
    ends = Deadline(SOON)
    while compute.queued != length:
        ends.check()


def test_a_job_gives_its_result(one_thread: Compute) -> None:
    assert one_thread.run(lambda: 6 * 7, Deadline(SOON)) == 42


def test_a_job_gives_its_own_error(one_thread: Compute) -> None:
    def fail() -> None:
        raise KeyError("its own")

    with pytest.raises(KeyError, match="its own"):
        one_thread.run(fail, Deadline(SOON))
    assert one_thread.run(lambda: "still there", Deadline(SOON)) == "still there"


def test_a_full_queue_is_said_at_once(one_thread: Compute) -> None:
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


def test_jobs_run_in_the_order_of_their_arrival(one_thread: Compute) -> None:
    blocker, ran = Blocker(), []
    with ThreadPoolExecutor(3) as pool:
        pool.submit(one_thread.run, blocker, Deadline(SOON))
        assert blocker.started.wait(SOON)
        for number in range(2):
            pool.submit(one_thread.run, lambda n=number: ran.append(n), Deadline(SOON))
            wait_for_queue(one_thread, number + 1)
        blocker.let_go.set()
    assert ran == [0, 1]


@pytest.mark.parametrize("reason", ["late", "left"])
def test_work_that_nobody_waits_for_is_not_begun(one_thread: Compute, reason: str) -> None:
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
    compute = Compute(threads=2, queue=8)
    together = threading.Barrier(2, timeout=SOON)
    with ThreadPoolExecutor(2) as pool:
        futures = [pool.submit(compute.run, together.wait, Deadline(SOON)) for _ in range(2)]
        assert sorted(future.result() for future in futures) == [0, 1]
    compute.close()


def test_closing_finishes_what_waits_and_refuses_more() -> None:
    compute = Compute(threads=1, queue=2)
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


def test_a_large_demand_is_not_passed_by_small_ones() -> None:
    budget = MemoryBudget(100)
    order: list[str] = []
    queued = threading.Event()

    def take(name: str, count: int) -> None:
        with budget.hold(count, Deadline(SOON)):
            order.append(name)

    with ThreadPoolExecutor(2) as pool:
        with budget.hold(60, Deadline(SOON)):
            large = pool.submit(take, "large", 100)
            while len(budget._turns) != 1:
                queued.wait(0.001)
            small = pool.submit(take, "small", 1)
            while len(budget._turns) != 2:
                queued.wait(0.001)
        large.result()
        small.result()
    assert order == ["large", "small"]
