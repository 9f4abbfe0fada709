"""What libraries need of a file, over bytes that are there: `io.BytesIO` would copy them first."""

from __future__ import annotations

import io
from typing import Self


class ViewFile:
    """A file to read from, over memory that somebody else keeps, and has back after `with`.

    Args:
        data: The bytes.
    """

    def __init__(self, data: bytes | bytearray | memoryview) -> None:
        self._data = memoryview(data)
        self._at = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._data.release()

    def read(self, size: int = -1) -> bytes:
        """The next bytes, as many as are wanted and there."""
        end = len(self._data) if size < 0 else self._at + size
        found = bytes(self._data[self._at : end])
        self._at += len(found)
        return found

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go on elsewhere."""
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._at}.get(whence, len(self._data))
        self._at = min(max(start + offset, 0), len(self._data))
        return self._at

    def tell(self) -> int:
        """Where it goes on."""
        return self._at
