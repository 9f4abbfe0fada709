"""The platform configuration registers of one enclave, from its boot to its end."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

COUNT: Final = 32
LENGTH: Final = 48
#: PCR0 to 15 are locked at boot; 16 to 31 belong to the application.
LOCKED_AT_BOOT: Final = 16


class PcrLockedError(Exception):
    """The PCR is locked (the NSM's ReadOnlyIndex)."""


class PcrIndexError(Exception):
    """There is no such PCR (the NSM's InvalidIndex)."""


def measured(value: bytes) -> bytes:
    """A PCR that was extended once from zero: SHA-384(48 zero bytes ‖ value).

    PCR4 of real documents is this of the instance id; PCR3 is that of the role's ARN.
    """
    return extended(bytes(LENGTH), value)


def extended(old: bytes, data: bytes) -> bytes:
    """SHA-384(old ‖ data)."""
    return hashlib.sha384(old + data).digest()


class PcrBank:
    """32 registers of 48 bytes.

    Args:
        at_boot: Values of PCR0 to 15 that are not zero.

    Raises:
        ValueError: An index is not in 0..15 or a value has not 48 bytes.
    """

    def __init__(self, at_boot: Mapping[int, bytes]) -> None:
        self._values = [bytes(LENGTH)] * COUNT
        self._locked = [index < LOCKED_AT_BOOT for index in range(COUNT)]
        for index, value in at_boot.items():
            if not 0 <= index < LOCKED_AT_BOOT:
                raise ValueError(f"PCR{index} is not set at boot")
            if len(value) != LENGTH:
                raise ValueError(f"PCR{index} has {len(value)} bytes instead of {LENGTH}")
            self._values[index] = bytes(value)

    def describe(self, index: int) -> tuple[bool, bytes]:
        """Whether a PCR is locked, and its value."""
        self._check(index)
        return self._locked[index], self._values[index]

    def extend(self, index: int, data: bytes) -> bytes:
        """Extend an unlocked PCR; its new value."""
        self._check(index)
        if self._locked[index]:
            raise PcrLockedError
        self._values[index] = extended(self._values[index], data)
        return self._values[index]

    def lock(self, index: int) -> None:
        """Lock one PCR; locking it again is refused."""
        self._check(index)
        if self._locked[index]:
            raise PcrLockedError
        self._locked[index] = True

    def lock_below(self, end: int) -> None:
        """Lock the first `end` PCRs, whether or not they are locked."""
        if end > COUNT:
            raise PcrIndexError
        for index in range(end):
            self._locked[index] = True

    def locked(self) -> dict[int, bytes]:
        """The locked PCRs: what a document contains."""
        return {i: v for i, v in enumerate(self._values) if self._locked[i]}

    @staticmethod
    def _check(index: int) -> None:
        if index >= COUNT:
            raise PcrIndexError
