"""When to leave an enclave alone, and for how long."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from typing import Final

#: One broken connection is a restart or a cancelled request; three in a row are a pattern.
THRESHOLD: Final = 3
#: Seconds of the first pause. A worker that restarts is back within about this time.
FIRST_PAUSE: Final = 0.5
#: Seconds of the longest pause: recovery is noticed soon enough, and an address where nobody
#: listens costs a handful of calls a minute.
LONGEST_PAUSE: Final = 15.0


class BreakerState(StrEnum):
    """Whether requests may pass."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half-open"


class Breaker:
    """Counts failures in a row; opens at the threshold, then lets one trial through.

    State      leaves it by                         and goes to
    CLOSED     THRESHOLD failures in a row, trip    OPEN
    OPEN       the end of the pause                 HALF_OPEN
    HALF_OPEN  a success                            CLOSED
    HALF_OPEN  a failure                            OPEN, with a pause twice as long

    Attributes:
        until: End of the current pause, on the caller's clock; None while closed.

    Args:
        random: Gives numbers of 0 to 1; jitter keeps gateways from coming back in step.
    """

    def __init__(self, random: Callable[[], float]) -> None:
        self._random = random
        self._failures = 0
        self._trips = 0
        self.until: float | None = None

    def __repr__(self) -> str:
        return f"<Breaker failures: {self._failures}, trips: {self._trips}>"

    def state(self, now: float) -> BreakerState:
        """The state at a time."""
        if self.until is None:
            return BreakerState.CLOSED
        return BreakerState.OPEN if now < self.until else BreakerState.HALF_OPEN

    def succeeded(self) -> None:
        """A request, or a verification, went well."""
        self._failures = self._trips = 0
        self.until = None

    def failed(self, now: float) -> None:
        """Something that is the enclave's or the link's fault happened."""
        self._failures += 1
        state = self.state(now)
        if state is BreakerState.HALF_OPEN or (
            state is BreakerState.CLOSED and self._failures >= THRESHOLD
        ):
            self.trip(now)

    def trip(self, now: float) -> float:
        """Open at once; returns the end of the pause."""
        pause = min(FIRST_PAUSE * 2 ** min(self._trips, 10), LONGEST_PAUSE)
        # "Equal jitter": half of the pause is certain, so that it never becomes a busy loop.
        self.until = now + pause * (0.5 + self._random() / 2)
        self._trips += 1
        self._failures = 0
        return self.until
