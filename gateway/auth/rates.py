"""Rate limits: so many requests a window for each caller.

The counting is the `limits` library's: a sliding window of two counters, so a caller costs two
numbers, and a burst at the turn of a minute does not pass twice.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from limits import RateLimitItem, parse
from limits.aio.storage import MemoryStorage
from limits.aio.strategies import SlidingWindowCounterRateLimiter

from blindgate import problems
from gateway.problem_answers import Refused

if TYPE_CHECKING:
    from gateway.auth.caller import Caller


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a caller stands, as draft-ietf-httpapi-ratelimit-headers-10 puts it in headers.

    Attributes:
        quota: Requests in a window.
        window: Its length in seconds.
        remaining: Requests that are left.
        reset: Seconds until there are more.
    """

    quota: int
    window: int
    remaining: int
    reset: int

    def headers(self) -> dict[str, str]:
        """`RateLimit-Policy` and `RateLimit`, structured fields (RFC 9651)."""
        return {
            "ratelimit-policy": f'"caller";q={self.quota};w={self.window}',
            "ratelimit": f'"caller";r={self.remaining};t={self.reset}',
        }


class RateLimits:
    """Counts what each caller asks for.

    Args:
        rate: Such as `600/minute`, in the notation of `limits`.

    Raises:
        ValueError: The rate cannot be read.
    """

    def __init__(self, rate: str) -> None:
        self._item: RateLimitItem = parse(rate)
        self._limiter = SlidingWindowCounterRateLimiter(MemoryStorage())

    async def take(self, caller: Caller, cost: int = 1) -> Standing:
        """Count a request.

        Returns:
            Where the caller stands now.

        Raises:
            Refused: `rate-limited`; nothing was counted.
        """
        who = str(caller)
        taken = await self._limiter.hit(self._item, who, cost=cost)
        stats = await self._limiter.get_window_stats(self._item, who)
        standing = Standing(
            self._item.amount,
            self._item.get_expiry(),
            max(stats.remaining, 0),
            max(math.ceil(stats.reset_time - time.time()), 1),
        )
        if not taken:
            headers = {**standing.headers(), "retry-after": str(standing.reset)}
            raise Refused(problems.RATE_LIMITED, headers=headers, rest_unread=True)
        return standing
