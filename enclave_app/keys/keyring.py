"""The keys that clients seal to: born in the worker, rotated, never leaving it.

A generation is one X-Wing and one X25519 key with key ids of their own. When its lifetime is
over a new one is published, and the old private keys stay for an overlap, so that a client
that verified them a moment ago is still served; then they are dropped, and what was sealed to
them can be opened by nobody. Nothing is stored: a restart is a rotation without overlap.

Key ids are random, so that several workers behind one gateway rarely share one; where they do,
the gateway asks one of them to give way (`Keyring.give_way`).
"""

from __future__ import annotations

import hashlib
import os
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from blindgate.sealing import keys
from blindgate.sealing.suites import Kem

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

#: How long a generation is published. A day bounds what one stolen key would open.
LIFETIME_S: Final = 24 * 3600.0
#: How long retired keys still open requests: twice the hour after which our clients verify anew.
OVERLAP_S: Final = 2 * 3600.0
#: The current generation and retired ones; more only if somebody keeps asking us to give way.
MAX_GENERATIONS: Final = 3


@dataclass(frozen=True, slots=True)
class Published:
    """What the outside may have: one body and its digest, of the same moment.

    Attributes:
        body: The content of `application/ohttp-keys`.
        digest: Its SHA-256, which goes into the client-facing attestation document.
        key_ids: The ids in it, the preferred key's first.
    """

    body: bytes
    digest: bytes
    key_ids: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class _Generation:
    expires_at: float
    pairs: tuple[keys.KeyPair, ...]
    published: Published

    @property
    def key_ids(self) -> tuple[int, ...]:
        return self.published.key_ids


class Keyring:
    """Generations of key pairs; safe to use from several threads.

    Args:
        clock: Seconds that never go back; the parent has no hand in a monotonic clock.
        random: Gives this many uniform bytes; inside an enclave the kernel's pool is seeded by
            the NSM.
        lifetime: Seconds that a generation is published.
        overlap: Seconds that it is still opened after that.
    """

    def __init__(
        self,
        *,
        clock: Callable[[], float] = time.monotonic,
        random: Callable[[int], bytes] = os.urandom,
        lifetime: float = LIFETIME_S,
        overlap: float = OVERLAP_S,
    ) -> None:
        self._clock = clock
        self._random = random
        self._lifetime = lifetime
        self._overlap = overlap
        self._lock = threading.Lock()
        self._taken: frozenset[int] = frozenset()
        self._generations: list[_Generation] = []
        # Of `_generations`, for each request to look at: the pairs by id, and when to act next.
        self._pairs: dict[int, keys.KeyPair] = {}
        self._due_at = 0.0
        self._add(clock())

    def __repr__(self) -> str:
        return f"Keyring(key_ids={self.published().key_ids}, redacted)"

    def published(self) -> Published:
        """The current body, its digest and its key ids, which belong together."""
        with self._lock:
            self._advance()
            return self._generations[0].published

    def keys_body(self) -> bytes:
        """The current content of `application/ohttp-keys`."""
        return self.published().body

    def digest(self) -> bytes:
        """SHA-256 of `keys_body()`; take both from `published()` where they must agree."""
        return self.published().digest

    def find(self, key_id: int) -> keys.KeyPair | None:
        """The pair of this id, current or still in its overlap; else None."""
        with self._lock:
            self._advance()
            return self._pairs.get(key_id)

    def key_ids(self) -> tuple[int, ...]:
        """Every id that `find` knows, current ones first: what the gateway routes by."""
        with self._lock:
            self._advance()
            return tuple(key_id for held in self._generations for key_id in held.key_ids)

    def rotate_if_due(self) -> bool:
        """Drop what has expired and publish anew if it is time; for the worker's timer.

        Everything else here does the same before it answers; the timer sees to it that an idle
        worker also forgets its old keys.

        Returns:
            Whether a new generation was made.
        """
        with self._lock:
            return self._advance()

    def give_way(self, taken: Iterable[int]) -> bool:
        """Drop the keys whose ids are among `taken`, ids of other workers; publish others.

        They are dropped at once, without an overlap: with two holders of one id the gateway
        cannot tell whom a request is for. The list comes from the gateway and is not trusted:
        the worst that it can do is to make keys go early, which denies service to those who
        sealed to them.

        Returns:
            Whether a new generation was made.
        """
        with self._lock:
            self._advance()
            self._taken = frozenset(key_id for key_id in taken if 0 <= key_id <= 255)
            current = self._generations[0]
            kept = [held for held in self._generations if self._taken.isdisjoint(held.key_ids)]
            if kept and kept[0] is current:
                self._hold(kept)
                return False
            self._generations = kept
            self._add(self._clock())
            return True

    def _advance(self) -> bool:
        now = self._clock()
        if now < self._due_at:
            return False
        due = now >= self._generations[0].expires_at
        if due:
            self._add(now)
        current, *retired = self._generations
        self._hold([current, *(held for held in retired if now < held.expires_at + self._overlap)])
        return due

    def _hold(self, generations: list[_Generation]) -> None:
        current, *retired = generations
        self._generations = generations
        self._pairs = {pair.config.key_id: pair for held in generations for pair in held.pairs}
        self._due_at = min(
            [current.expires_at, *(held.expires_at + self._overlap for held in retired)]
        )

    def _add(self, now: float) -> None:
        pairs = []
        used = {key_id for held in self._generations for key_id in held.key_ids}
        for kem in Kem:
            key_id = self._free_id(used)
            used.add(key_id)
            pairs.append(keys.KeyPair.from_seed(key_id, kem, self._random(32)))
        body = keys.encode_list(pair.config for pair in pairs)
        published = Published(
            body, hashlib.sha256(body).digest(), tuple(pair.config.key_id for pair in pairs)
        )
        generation = _Generation(now + self._lifetime, tuple(pairs), published)
        self._hold([generation, *self._generations][:MAX_GENERATIONS])

    def _free_id(self, used: set[int]) -> int:
        own = [key_id for key_id in range(256) if key_id not in used]
        free = [key_id for key_id in own if key_id not in self._taken] or own
        return free[int.from_bytes(self._random(8), "big") % len(free)]
