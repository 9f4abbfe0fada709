"""The deadline of a request."""

from __future__ import annotations

import time
from collections.abc import Callable

from enclave_app.scheduling.errors import DeadlineExceeded


class Deadline:
    """The time until which a response is useful, on the monotonic clock.

    Args:
        seconds: From now.
        clock: Seconds of a monotonic clock.
    """

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._at = clock() + seconds

    def remaining(self) -> float:
        """Seconds left; zero after the deadline."""
        return max(0.0, self._at - self._clock())

    def check(self) -> None:
        """Check that the deadline has not passed.

        Raises:
            DeadlineExceeded: It has.
        """
        if self._clock() >= self._at:
            raise DeadlineExceeded("the deadline has passed")
