"""The queue knows its counts and its earliest deadline."""

from __future__ import annotations

import math

from blindgate.link import UnixAddress
from gateway.pool.breaker import Breaker
from gateway.pool.queue import Queue
from gateway.pool.states import Endpoint, Waiter


def holder(*key_ids: int) -> Endpoint:
    return Endpoint(UnixAddress("/a"), Breaker(lambda: 0.0), key_ids=frozenset(key_ids))


def test_the_order_is_that_of_arrival_but_for_who_goes_first() -> None:
    queue = Queue()
    late, early, again = Waiter(9), Waiter(9), Waiter(9)
    queue.add(early)
    queue.add(late)
    queue.add(again, first=True)
    assert list(queue) == [again, early, late]
    queue.put_back([queue.pop(), queue.pop()])
    assert list(queue) == [again, early, late]


def test_requests_are_counted_by_the_key_that_they_want() -> None:
    queue = Queue()
    for key_id in (None, 1, 1, 2):
        queue.add(Waiter(9, key_id))
    assert [queue.count_for(e) for e in (holder(), holder(1), holder(1, 2))] == [1, 3, 4]
    queue.pop()
    assert queue.count_for(holder(2)) == 1


def test_those_whose_time_is_over_come_out_and_the_rest_stay() -> None:
    queue = Queue()
    one, two, three = (Waiter(expires) for expires in (5, 3, 7))
    for waiter in (one, two, three):
        queue.add(waiter)
    assert queue.earliest == 3
    assert queue.pop_late(2.9) == []
    assert queue.pop_late(5) == [one, two]
    assert (list(queue), queue.earliest) == ([three], 7)
    queue.remove(three)
    assert queue.pop_late(7) == []
    assert queue.earliest == math.inf
