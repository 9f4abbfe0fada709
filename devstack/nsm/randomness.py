"""Where keys and serial numbers come from, so that published vectors can be made again."""

from __future__ import annotations

import os
from typing import Protocol

from cryptography.hazmat.primitives.asymmetric import ec


class Randomness(Protocol):
    """A source of key pairs and bytes."""

    def key(self) -> ec.EllipticCurvePrivateKey:
        """A new P-384 key."""

    def octets(self, count: int) -> bytes:
        """`count` random bytes."""


class SystemRandomness:
    """The operating system's."""

    def key(self) -> ec.EllipticCurvePrivateKey:
        """A new P-384 key."""
        return ec.generate_private_key(ec.SECP384R1())

    def octets(self, count: int) -> bytes:
        """`count` random bytes."""
        return os.urandom(count)
