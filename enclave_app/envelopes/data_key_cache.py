"""Unwrapped data keys that may serve again, within the bounds of the measured configuration.

The AWS Encryption SDK's own cache counts uses when encrypting only, ages by the wall clock, which
the parent sets, and lets many callers that miss at once each ask KMS. This one counts messages
and bytes, ages by the monotonic clock, and makes one call for all who wait for the same key.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Final

from enclave_app.kms.errors import KmsRefused
from enclave_app.scheduling.error_copies import own_copy

#: Seconds for which a refusal is not asked about again: short, since a key policy may be corrected.
REFUSED_SECONDS: Final = 10.0
#: Refusals that are remembered; beyond that the oldest is forgotten. 100 KB.
REFUSALS: Final = 1024


@dataclass(frozen=True, slots=True)
class CacheLimits:
    """How long one unwrapped key may serve.

    Attributes:
        entries: Keys held at once; 0 keeps none.
        max_age_s: Seconds after KMS released it.
        max_uses: Messages opened with it, the first included.
        max_bytes: Bytes of those messages together.
    """

    entries: int = 256
    max_age_s: float = 300.0
    max_uses: int = 1_000
    max_bytes: int = 1024 * 1024 * 1024


@dataclass(slots=True)
class _Entry:
    key: bytes = field(repr=False)
    since: float
    uses: int = 0
    size: int = 0


class DataKeyCache:
    """Least recently used data keys, in memory only. Safe for any number of threads.

    Args:
        limits: The bounds.
        clock: Monotonic seconds.
    """

    def __init__(self, limits: CacheLimits, clock: Callable[[], float] = time.monotonic) -> None:
        self._limits = limits
        self._clock = clock
        self._lock = threading.Lock()
        self._entries: OrderedDict[bytes, _Entry] = OrderedDict()
        self._calls: dict[bytes, Future[None]] = {}
        #: Until when KMS is not asked again, by name; the order is that of the times.
        self._refused: OrderedDict[bytes, float] = OrderedDict()

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, name: bytes, size: int, release: Callable[[], bytes]) -> bytes:
        """The data key of one message, from the cache or from KMS.

        A refusal is remembered for REFUSED_SECONDS: each call costs an attestation document, a
        share of KMS's quota for the whole account, and money. Other failures are not remembered.

        Args:
            name: A digest of everything that KMS would be asked.
            size: Bytes of the message that it is for.
            release: Asks KMS; called by one thread at a time for each name.

        Raises:
            KmsRefused: KMS refused, now or a moment ago.
            Exception: What `release` raises.
        """
        if self._limits.entries == 0:
            return release()
        while True:
            with self._lock:
                if self._was_refused(name):
                    raise KmsRefused
                held = self._use(name, size)
                if held is not None:
                    return held
                call = self._calls.get(name)
                if call is None:
                    mine = self._calls[name] = Future()
                    break
            # Another thread asks already. If it fails, so would we; if what it got serves no
            # second message, this one asks for itself.
            failure = call.exception()
            if failure is not None:
                raise own_copy(failure)
        try:
            entry = _Entry(release(), self._clock())
        except BaseException as error:
            if isinstance(error, KmsRefused):
                with self._lock:
                    self._note_refusal(name)
            self._finish(name, mine, error)
            raise
        with self._lock:
            self._keep(name, entry, size)
        self._finish(name, mine, None)
        return entry.key

    def _finish(self, name: bytes, call: Future[None], error: BaseException | None) -> None:
        with self._lock:
            del self._calls[name]
        if error is None:
            call.set_result(None)
        else:
            call.set_exception(error)

    def _was_refused(self, name: bytes) -> bool:
        now = self._clock()
        while self._refused:
            oldest, until = next(iter(self._refused.items()))
            if until > now:
                break
            del self._refused[oldest]
        return name in self._refused

    def _note_refusal(self, name: bytes) -> None:
        self._refused[name] = self._clock() + REFUSED_SECONDS
        self._refused.move_to_end(name)
        while len(self._refused) > REFUSALS:
            self._refused.popitem(last=False)

    def _use(self, name: bytes, size: int) -> bytes | None:
        entry = self._entries.get(name)
        if entry is None:
            return None
        if self._is_over(entry, size):
            del self._entries[name]
            return None
        self._entries.move_to_end(name)
        entry.uses += 1
        entry.size += size
        return entry.key

    def _keep(self, name: bytes, entry: _Entry, size: int) -> None:
        for old in [key for key, held in self._entries.items() if self._is_over(held, 0)]:
            del self._entries[old]
        if self._is_over(entry, size):
            return
        entry.uses, entry.size = 1, size
        self._entries[name] = entry
        while len(self._entries) > self._limits.entries:
            self._entries.popitem(last=False)

    def _is_over(self, entry: _Entry, size: int) -> bool:
        """Whether a further message of this size would break a bound."""
        limits = self._limits
        return (
            self._clock() - entry.since >= limits.max_age_s
            or entry.uses >= limits.max_uses
            or entry.size + size > limits.max_bytes
        )
