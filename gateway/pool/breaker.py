"""Circuit breakers: when to leave an enclave alone, for how long, and for whom.

Two things fail. A connection that cannot be opened and attested is the enclave's or the link's
fault, and its breaker stops further dialling. A request that fails on an attested connection may
fail because of what its caller put into it, so its breaker stops that caller's requests alone;
whether the enclave itself works is for the monitor's own connection to find out.
"""

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
#: Callers whose last request failed and of whom an enclave's failures are kept. Who is forgotten
#: costs the enclave THRESHOLD connections before it is kept away again.
MOST_CALLERS: Final = 256


class BreakerState(StrEnum):
    """Whether another attempt may be made."""

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
        """An attempt, or a verification, went well."""
        self._failures = self._trips = 0
        self.until = None

    def failed(self, now: float) -> None:
        """An attempt failed."""
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


class CallerBreakers:
    """A breaker for each caller whose last request to one enclave failed.

    Args:
        random: Gives numbers of 0 to 1 for jitter.
    """

    def __init__(self, random: Callable[[], float]) -> None:
        self._random = random
        # The one that failed last is the last.
        self._breakers: dict[bytes | None, Breaker] = {}

    def __repr__(self) -> str:
        return f"<CallerBreakers {len(self)}>"

    def __len__(self) -> int:
        return len(self._breakers)

    def blocks(self, caller: bytes | None, now: float) -> bool:
        """Whether a caller's requests are kept away from the enclave now."""
        breaker = self._breakers.get(caller)
        return breaker is not None and breaker.state(now) is BreakerState.OPEN

    def until(self, caller: bytes | None) -> float | None:
        """When a caller's current pause ends; None if there is none."""
        breaker = self._breakers.get(caller)
        return breaker.until if breaker is not None else None

    def succeeded(self, caller: bytes | None) -> None:
        """The enclave answered a request of this caller."""
        self._breakers.pop(caller, None)

    def failed(self, caller: bytes | None, now: float) -> None:
        """A request of this caller got no answer, or something that is none."""
        breaker = self._breakers.pop(caller, None) or Breaker(self._random)
        breaker.failed(now)
        self._breakers[caller] = breaker
        if len(self._breakers) > MOST_CALLERS:
            del self._breakers[next(iter(self._breakers))]

    def clear(self) -> None:
        """The enclave is another one, or was verified again."""
        self._breakers.clear()
