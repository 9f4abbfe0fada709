"""How much of something scarce one caller may hold, so that no caller holds all of it.

The rule is that of dynamic thresholds in switches (Choudhury and Hahne, 1998): a caller may hold
a multiple of what is free. One caller alone gets most of it; the more callers there are, the less
each gets, and something stays free for the next one. Callers are told apart by the gateway's tags,
which are not trusted: a gateway that lies about them denies service to its own callers.
"""

from __future__ import annotations

from collections import Counter
from typing import Final

#: What one caller may hold for each unit that is free: three quarters if nobody else is there.
TIMES_FREE: Final = 3


class FairShare:
    """Counts what each caller holds of a fixed number. Not safe for threads: the owner locks.

    Args:
        total: How many there are.
    """

    def __init__(self, total: int) -> None:
        self._free = total
        self._held: Counter[bytes | None] = Counter()

    @property
    def free(self) -> int:
        """How many nobody holds."""
        return self._free

    def allows(self, caller: bytes | None) -> bool:
        """Whether this caller may take one more now.

        Args:
            caller: The gateway's tag; None for all that have none, who count as one.
        """
        return self._held[caller] < TIMES_FREE * self._free

    def take(self, caller: bytes | None) -> None:
        """Count one more, after `allows`."""
        self._free -= 1
        self._held[caller] += 1

    def give_back(self, caller: bytes | None) -> None:
        """Count one less."""
        self._free += 1
        self._held[caller] -= 1
        if not self._held[caller]:
            del self._held[caller]
