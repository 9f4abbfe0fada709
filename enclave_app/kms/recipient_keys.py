"""RSA keys that KMS encrypts its answers to, made ahead of the calls that use them.

Generating one takes 30 to 300 ms (up to 1 s for RSA-4096), so never on a request: a spare
is always ready. A key serves for a bounded time and number of calls; each call shows KMS a fresh
attestation document that carries it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

#: What KMS asks for at least; larger only costs time, since an answer lives for milliseconds.
KEY_BITS: Final = 2048
#: An hour: what a key that leaked could open ends soon, and TLS is around it anyway.
MAX_AGE_SECONDS: Final = 3600.0
#: 10,000 calls: minutes of KMS's own request limit for an account (thousands a second).
MAX_USES: Final = 10_000


@dataclass(frozen=True, slots=True)
class RecipientKey:
    """A key pair and what the attestation document carries of it.

    Attributes:
        private: Opens answers; never leaves the process.
        spki: The public half, DER SubjectPublicKeyInfo, 294 bytes.
    """

    private: rsa.RSAPrivateKey = field(repr=False)
    spki: bytes = field(repr=False)


def generate() -> RecipientKey:
    """Make a key pair; slow."""
    private = rsa.generate_private_key(public_exponent=65537, key_size=KEY_BITS)
    spki = private.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return RecipientKey(private, spki)


class RecipientKeys:
    """The key in use and a spare. Safe for any number of threads.

    Args:
        make: Generates a key.
        clock: Monotonic seconds.
        max_age: Seconds that one key serves.
        max_uses: Calls that one key serves.
    """

    def __init__(
        self,
        make: Callable[[], RecipientKey] = generate,
        *,
        clock: Callable[[], float] = time.monotonic,
        max_age: float = MAX_AGE_SECONDS,
        max_uses: int = MAX_USES,
    ) -> None:
        self._make = make
        self._clock = clock
        self._max_age = max_age
        self._max_uses = max_uses
        self._lock = threading.Lock()
        self._current = make()
        self._since = clock()
        self._uses = 0
        self._spare: RecipientKey | None = None

    def take(self) -> RecipientKey:
        """The key for one call."""
        with self._lock:
            if self._is_worn():
                # Without a spare this waits for one: rather slow once than a key beyond its time.
                self._current = self._spare or self._make()
                self._spare = None
                self._since = self._clock()
                self._uses = 0
            self._uses += 1
            return self._current

    def needs_spare(self) -> bool:
        """Whether `replenish` has something to do."""
        return self._spare is None

    def replenish(self) -> None:
        """Make the spare, if there is none; slow, for a background thread."""
        if self._spare is None:
            spare = self._make()
            with self._lock:
                self._spare = spare

    def _is_worn(self) -> bool:
        return self._uses >= self._max_uses or self._clock() - self._since >= self._max_age
