"""The requests that wait, and what is known of them without looking at each."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gateway.pool.states import Endpoint, Waiter


class Queue:
    """Requests in the order in which they are to be served.

    Attributes:
        fresh: Those that came since somebody last emptied this list; some may have left.
        earliest: When the first of them is too late, or some time before.
    """

    def __init__(self) -> None:
        self.fresh: list[Waiter] = []
        self.earliest = math.inf
        self._waiters: deque[Waiter] = deque()
        self._by_key: dict[int | None, int] = {}

    def __repr__(self) -> str:
        return f"<Queue of {len(self._waiters)}>"

    def __len__(self) -> int:
        return len(self._waiters)

    def __iter__(self) -> Iterator[Waiter]:
        return iter(self._waiters)

    def add(self, waiter: Waiter, *, first: bool = False) -> None:
        """One more, at the end or at the head."""
        if first:
            self._waiters.appendleft(waiter)
        else:
            self._waiters.append(waiter)
        self._count(waiter, 1)
        self.fresh.append(waiter)
        self.earliest = min(self.earliest, waiter.expires)

    def pop(self) -> Waiter:
        """Take the first."""
        waiter = self._waiters.popleft()
        self._count(waiter, -1)
        return waiter

    def put_back(self, waiters: list[Waiter]) -> None:
        """Have those who were popped, in this order, wait on at the head."""
        self._waiters.extendleft(reversed(waiters))
        for waiter in waiters:
            self._count(waiter, 1)

    def remove(self, waiter: Waiter) -> None:
        """Take one out, wherever it stands."""
        self._waiters.remove(waiter)
        self._count(waiter, -1)

    def pop_late(self, now: float) -> list[Waiter]:
        """Take out everybody whose time is over."""
        if now < self.earliest:
            return []
        late = [waiter for waiter in self._waiters if waiter.expires <= now]
        for waiter in late:
            self.remove(waiter)
        self.earliest = min((waiter.expires for waiter in self._waiters), default=math.inf)
        return late

    def count_for(self, endpoint: Endpoint) -> int:
        """How many want a key that an enclave holds, or none in particular.

        An upper bound of those whom it can serve: some may have been there already.
        """
        total = 0
        for key_id, count in self._by_key.items():
            if endpoint.holds(key_id):
                total += count
        return total

    def by_key(self) -> Iterable[tuple[int | None, int]]:
        """How many want which key; None for any."""
        return self._by_key.items()

    def _count(self, waiter: Waiter, more: int) -> None:
        count = self._by_key.get(waiter.key_id, 0) + more
        if count:
            self._by_key[waiter.key_id] = count
        else:
            del self._by_key[waiter.key_id]
