"""Rate limits: so many requests a window for each caller.

The counting is the `limits` library's: a sliding window of two counters, so a caller costs two
numbers, and a burst at the turn of a minute does not pass twice. They are in memory, or in a Redis
that several gateways share (`gateway.auth.shared_counters`).
"""

from __future__ import annotations

import logging
import math
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from limits import RateLimitItem, parse
from limits.aio.storage import MemoryStorage
from limits.aio.strategies import SlidingWindowCounterRateLimiter
from limits.errors import StorageError

from blindgate import problems
from gateway.problem_answers import Refused

if TYPE_CHECKING:
    from gateway.auth.caller import Caller
    from gateway.auth.shared_counters import SharedCounters

_log = logging.getLogger(__name__)

#: Seconds without Redis after it has failed, so that not every request waits for it in vain.
_ALONE: Final = 2.0


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
        shared: Where several gateways count together; each by itself if left out.

    Raises:
        ValueError: The rate cannot be read.
    """

    def __init__(self, rate: str, shared: SharedCounters | None = None) -> None:
        self._item: RateLimitItem = parse(rate)
        self._limiter = SlidingWindowCounterRateLimiter(MemoryStorage())
        self._shared = shared
        self._alone_until = 0.0

    async def take(self, caller: Caller, cost: int = 1) -> Standing:
        """Count a request.

        Returns:
            Where the caller stands now.

        Raises:
            Refused: `rate-limited`; nothing was counted.
        """
        taken, standing = await self._count(str(caller), cost)
        if not taken:
            headers = {**standing.headers(), "retry-after": str(standing.reset)}
            raise Refused(problems.RATE_LIMITED, headers=headers)
        return standing

    async def close(self) -> None:
        """Give connections up."""
        if self._shared is not None:
            await self._shared.close()

    async def _count(self, who: str, cost: int) -> tuple[bool, Standing]:
        now = time.monotonic()
        if self._shared is not None and now >= self._alone_until:
            try:
                return await self._hit(self._shared.limiter, who, cost)
            except StorageError as error:
                # Better counted by this gateway alone than not at all, and better than nobody
                # served: what protects the enclaves is the queue.
                self._alone_until = now + _ALONE
                _log.warning("rates are not shared", extra={"reason": str(error)})
        return await self._hit(self._limiter, who, cost)

    async def _hit(
        self, limiter: SlidingWindowCounterRateLimiter, who: str, cost: int
    ) -> tuple[bool, Standing]:
        taken = await limiter.hit(self._item, who, cost=cost)
        stats = await limiter.get_window_stats(self._item, who)
        return taken, Standing(
            self._item.amount,
            self._item.get_expiry(),
            max(stats.remaining, 0),
            max(math.ceil(stats.reset_time - time.time()), 1),
        )
