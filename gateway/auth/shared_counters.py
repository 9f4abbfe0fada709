"""Counts that several gateways share, in Redis.

What is kept there is two numbers for each caller and window, under a key with the caller's name:
nothing about requests.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from limits.aio.storage import RedisStorage
from limits.aio.strategies import SlidingWindowCounterRateLimiter

from blindgate.errors import BlindgateError

if TYPE_CHECKING:
    from redis.asyncio import ConnectionPool

#: Seconds that Redis may take, on a network where a millisecond is usual.
_PATIENCE: Final = 0.25
#: More would wait for the event loop, not for Redis.
_CONNECTIONS: Final = 32


class CountersUnavailable(BlindgateError):
    """Shared counts are asked for and cannot be had; the message says what to do."""


class SharedCounters:
    """A limiter whose counts are in Redis.

    Attributes:
        limiter: It; raises `limits.errors.StorageError` if Redis does not answer.

    Args:
        url: `redis://…`, `rediss://…` or `unix://…`, with a password if there is one.

    Raises:
        CountersUnavailable: The extra `redis` is not installed, or the URL cannot be read.
    """

    def __init__(self, url: str) -> None:
        self._pool = _connections(url)
        options: dict[str, Any] = {"connection_pool": self._pool}
        storage = RedisStorage(
            # Only its scheme counts, as there is a connection pool already.
            "async+redis://",
            wrap_exceptions=True,
            implementation="redispy",
            key_prefix="blindgate",
            **options,
        )
        self.limiter = SlidingWindowCounterRateLimiter(storage)

    def __repr__(self) -> str:
        return "<SharedCounters>"

    async def close(self) -> None:
        """Give the connections up."""
        await self._pool.aclose()


def _connections(url: str) -> ConnectionPool:
    try:
        from redis.asyncio import BlockingConnectionPool
        from redis.asyncio.retry import Retry
        from redis.backoff import NoBackoff
    except ImportError:
        raise CountersUnavailable(
            "rate_limit_storage needs Redis: install locks/gateway.txt, which holds its client"
        ) from None
    try:
        return BlockingConnectionPool.from_url(
            url,
            max_connections=_CONNECTIONS,
            timeout=_PATIENCE,
            socket_timeout=_PATIENCE,
            socket_connect_timeout=_PATIENCE,
            # Once more, for a connection that Redis has closed since.
            retry=Retry(NoBackoff(), 1),
        )
    except ValueError:
        # Its own message may hold the password.
        raise CountersUnavailable(
            "rate_limit_storage is no URL such as redis://localhost:6379/0"
        ) from None
