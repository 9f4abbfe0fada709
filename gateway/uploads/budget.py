"""One number for the memory of all bodies together."""

from __future__ import annotations


class ByteBudget:
    """Counts bytes that are held, up to a total.

    Args:
        total: Bytes that may be held at once.
    """

    def __init__(self, total: int) -> None:
        self._total = total
        self._held = 0

    def __repr__(self) -> str:
        return f"<ByteBudget {self._held} of {self._total} bytes>"

    @property
    def total(self) -> int:
        """Bytes that may be held at once."""
        return self._total

    @property
    def held(self) -> int:
        """Bytes that are held now."""
        return self._held

    def take(self, count: int) -> bool:
        """Hold so many more bytes, if they still fit."""
        if self._held + count > self._total:
            return False
        self._held += count
        return True

    def give_back(self, count: int) -> None:
        """Hold so many bytes less."""
        self._held -= count
