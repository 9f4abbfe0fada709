"""How fast an enclave answers when it has enough to do, measured without a clock or I/O.

Only time in which the enclave is loaded counts: when it has at least as many requests as keep
it busy. Idle time and a trickle of requests say nothing about how fast it can be.

    event                   loaded before   what it does
    `given`                 no              begins to count time, if it is loaded now
    `returned`, completed   yes             the loaded time since the last completion is a sample
    `returned`, not so      yes             its time is left to the next completion's sample
    `returned`              no              nothing
"""

from __future__ import annotations

import math
from typing import Final

#: Completions that an estimate takes to begin, and that a change of pace takes to show: a third
#: of a second at 100 a second, and no more than a few seconds for a slow detector.
MEMORY: Final = 32
#: Standard deviations from the mean to the 99th percentile of a normal distribution.
_P99: Final = 2.33


class Pace:
    """See the module."""

    def __init__(self) -> None:
        self._samples = 0
        self._mean = 0.0
        # Loaded since when, and for how long before that without a completion.
        self._since: float | None = None
        self._spent = 0.0

    def __repr__(self) -> str:
        known = f"{self._mean * 1000:.3g} ms" if self.is_known else "unknown"
        return f"<Pace {known}, {self._samples} samples>"

    @property
    def is_known(self) -> bool:
        """Whether there were enough completions, and time between them, for an estimate."""
        return self._samples >= MEMORY and self._mean > 0

    @property
    def interval(self) -> float | None:
        """Seconds from one completion to the next under load; None until it is known."""
        return self._mean if self.is_known else None

    def given(self, now: float, *, loaded: bool) -> None:
        """The enclave was given a request; `loaded` says whether that keeps it busy."""
        if loaded and self._since is None:
            self._since = now

    def returned(self, now: float, *, completed: bool, loaded: bool) -> None:
        """A request came back.

        Args:
            now: The time.
            completed: Whether the enclave did the work; refusing it takes no time, and giving
                up on it says nothing.
            loaded: Whether the enclave has enough to do without it.
        """
        if self._since is not None:
            self._spent += now - self._since
            if completed:
                self._sample(self._spent)
        if completed or not loaded:
            self._spent = 0.0
        self._since = now if loaded else None

    def _sample(self, interval: float) -> None:
        """A plain mean at first, an exponentially weighted one from then on."""
        self._samples += 1
        if self.is_known:
            # One hiccup at most doubles the estimate.
            interval = min(interval, MEMORY * self._mean)
        self._mean += (interval - self._mean) / min(self._samples, MEMORY)


def time_for(requests: float, rate: float) -> float:
    """Seconds in which so many requests are answered, in 99 of 100 cases.

    A deadline is met by the 99th percentile, not by the mean. Two things scatter: the n intervals,
    whose sum has sqrt(n) times the standard deviation of one, and the estimate of their mean,
    whose error does not average out over a long queue: an exponentially weighted mean with a
    weight of 1/m for the newest has 1/(2m - 1) of one interval's variance. One interval's
    standard deviation is taken to be as large as its mean, as if answers came at random; threads
    that compute scatter about half as much, which leaves something for what changes meanwhile.

    Args:
        requests: How many, the last one being the one in question.
        rate: Answers a second; above 0.
    """
    variance = requests + requests**2 / (2 * MEMORY - 1)
    return (requests + _P99 * math.sqrt(variance)) / rate
