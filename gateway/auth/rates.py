"""Rate limits: units of work in a window for each caller; docs/api.md says what costs how much.

The counting is the `limits` library's: a sliding window of two counters, so a caller costs two
numbers, and a burst at the turn of a minute does not pass twice. They are in memory, or in a Redis
that several gateways share (`gateway.auth.shared_counters`).

What a sealed request costs is known only after the enclave has answered it. What then exceeds the
window is owed: the caller's next requests are refused until the windows that follow have paid it.
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
from gateway.http.problem_responses import Refused

if TYPE_CHECKING:
    from gateway.auth.caller import Caller
    from gateway.auth.shared_counters import SharedCounters

_log = logging.getLogger(__name__)

#: Seconds without Redis after it has failed, so that not every request waits for it in vain.
_ALONE: Final = 2.0
#: Windows whose units a caller can owe. A burst of the most expensive requests costs more; a caller
#: that is refused for five minutes has been told.
MOST_OWED: Final = 5
#: Callers that can owe something; who is forgotten owes nothing more.
MOST_DEBTORS: Final = 4096


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a caller stands, as draft-ietf-httpapi-ratelimit-headers-10 puts it in headers.

    Attributes:
        quota: Units in a window.
        window: Its length in seconds.
        remaining: Units that are left.
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
        self._owed: dict[str, int] = {}

    def __repr__(self) -> str:
        return f"<RateLimits {self._item}, {len(self._owed)} callers owe>"

    async def take(self, caller: Caller, cost: int = 1) -> Standing:
        """Count a request whose cost is known.

        One that costs more than a window has needs a whole one, and the rest is owed.

        Returns:
            Where the caller stands now.

        Raises:
            Refused: `rate-limited`; nothing was counted.
        """
        who = caller.share
        if who in self._owed:
            standing = await self._pay(who)
            if who in self._owed:
                raise _limited(standing)
        at_first = min(cost, self._item.amount)
        taken, standing = await self._count(who, at_first)
        if not taken:
            raise _limited(standing)
        self._owe(who, cost - at_first)
        return standing

    async def charge(self, caller: Caller, cost: int) -> Standing:
        """Count what a request has cost, as far as it was not known before.

        Returns:
            Where the caller stands now.
        """
        who = caller.share
        self._owe(who, cost)
        return await self._pay(who)

    async def close(self) -> None:
        """Give connections up."""
        if self._shared is not None:
            await self._shared.close()

    def _owe(self, who: str, cost: int) -> None:
        if cost > 0:
            most = MOST_OWED * self._item.amount
            # The newest debtor is the last.
            self._owed[who] = min(self._owed.pop(who, 0) + cost, most)
            if len(self._owed) > MOST_DEBTORS:
                del self._owed[next(iter(self._owed))]

    async def _pay(self, who: str) -> Standing:
        """Count as much of what a caller owes as the window has room for."""
        _, standing = await self._count(who, 0)
        # Taken out first: another request of the caller may come here meanwhile.
        owed = self._owed.pop(who, 0)
        if due := min(owed, standing.remaining):
            paid, standing = await self._count(who, due)
            owed -= due if paid else 0
        self._owe(who, owed)
        return standing

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
        taken = not cost or await limiter.hit(self._item, who, cost=cost)
        stats = await limiter.get_window_stats(self._item, who)
        return taken, Standing(
            self._item.amount,
            self._item.get_expiry(),
            max(stats.remaining, 0),
            max(math.ceil(stats.reset_time - time.time()), 1),
        )


def _limited(standing: Standing) -> Refused:
    headers = {**standing.headers(), "retry-after": str(standing.reset)}
    return Refused(problems.RATE_LIMITED, headers=headers)
