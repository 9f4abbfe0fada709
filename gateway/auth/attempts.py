"""Counts refused sign-ins by network, so that guessing is slowed down and noticed."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Final

from gateway.auth.addresses import network_of

#: Refused sign-ins of one network in a minute, after which it is told to wait. A client with an
#: old key that retries every second stays below; valid credentials are never refused for it.
MOST_REFUSED: Final = 60
#: Networks that are counted by themselves; 4096 take less than a megabyte. Those beyond share one
#: count.
MOST_NETWORKS: Final = 4096
_WINDOW: Final = 60.0
_OTHERS: Final = "others"


class RefusedSignIns:
    """Counts of the current minute.

    Args:
        clock: Monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._ends = -math.inf
        self._counts: dict[str, int] = {}

    def __repr__(self) -> str:
        return f"<RefusedSignIns of {len(self._counts)} networks>"

    def count(self, address: str) -> int | None:
        """Count one.

        Returns:
            Whole seconds to wait for whoever sent too many; None for others.
        """
        now = self._clock()
        if now >= self._ends:
            self._counts.clear()
            self._ends = now + _WINDOW
        network = network_of(address)
        if network not in self._counts and len(self._counts) >= MOST_NETWORKS:
            network = _OTHERS
        count = self._counts[network] = self._counts.get(network, 0) + 1
        return max(1, math.ceil(self._ends - now)) if count > MOST_REFUSED else None
