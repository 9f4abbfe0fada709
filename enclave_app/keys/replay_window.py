"""Remembering which sealed requests were answered, in bounded memory (RFC 9458 §6.5)."""

from __future__ import annotations

import hashlib
import threading
from typing import Final

from enclave_app.scheduling.errors import Overloaded
from enclave_app.scheduling.fair_share import FairShare

#: About 150 bytes each, so 40 MB at worst; at six minutes of memory that is 728 requests a
#: second, more than any one worker detects, of which one caller gets 546.
CAPACITY: Final = 1 << 18


class ReplayCache:
    """The encapsulated keys seen within the last `retention` seconds.

    An honest client draws a new one for each request, so one that comes twice is a replay.
    Safe to use from several threads.

    Args:
        retention: Seconds to remember; at least as long as a request's Date stays acceptable.
        capacity: How many to remember; beyond that requests are refused, never forgotten early.
            Each caller has a share of it (`FairShare`).
    """

    def __init__(self, retention: float, capacity: int = CAPACITY) -> None:
        self._retention = retention
        self._lock = threading.Lock()
        self._share = FairShare(capacity)
        # When each is forgotten, and whose it is. Insertion order is the order of expiry, since
        # retention is one constant.
        self._expires: dict[bytes, tuple[float, bytes | None]] = {}

    def __len__(self) -> int:
        return len(self._expires)

    def seen(self, name: bytes, now: float) -> bool:
        """Whether this one was remembered and has not expired.

        Args:
            name: Of an encapsulated key, from `name_of`.
            now: The time.
        """
        # One look into a dictionary needs no lock, and what is late is forgotten by `remember`.
        held = self._expires.get(name)
        return held is not None and held[0] > now

    def remember(self, name: bytes, now: float, caller: bytes | None = None) -> bool:
        """Remember this one.

        Args:
            name: Of an encapsulated key, from `name_of`.
            now: The time.
            caller: The gateway's tag of the client that asks.

        Returns:
            Whether it is new; False means that it is a replay.

        Raises:
            Overloaded: There is no room for this caller until older ones expire.
        """
        with self._lock:
            self._forget(now)
            if name in self._expires:
                return False
            if not self._share.allows(caller):
                raise Overloaded("too many sealed requests within the Date window")
            self._share.take(caller)
            self._expires[name] = (now + self._retention, caller)
            return True

    def _forget(self, now: float) -> None:
        while self._expires:
            oldest = next(iter(self._expires))
            expires, caller = self._expires[oldest]
            if expires > now:
                return
            del self._expires[oldest]
            self._share.give_back(caller)


def name_of(encapsulated_key: bytes) -> bytes:
    """16 bytes for any KEM; two that collide by chance cost one refused request in 2^60."""
    return hashlib.blake2b(encapsulated_key, digest_size=16).digest()
