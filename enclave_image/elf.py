"""Which shared libraries a binary needs: the DT_NEEDED entries of 64-bit little-endian ELF.

Source: System V ABI, "Dynamic Section". Used on locked files only.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Final

from enclave_image.errors import ImageError

MAGIC: Final = b"\x7fELF\x02\x01"
_PROGRAM_HEADERS: Final = struct.Struct("<Q14xHH")  # offset; size of one, count
_PROGRAM_HEADER: Final = struct.Struct("<IIQQQQ")  # type, flags, offset, address, _, size in file
_PT_LOAD: Final = 1
_PT_DYNAMIC: Final = 2
_DT_NEEDED: Final = 1
_DT_STRTAB: Final = 5


def is_elf(data: bytes) -> bool:
    """Whether this is an ELF file of the kind that is read here."""
    return data.startswith(MAGIC)


def needed(data: bytes) -> list[str]:
    """The names of the shared libraries that an ELF file asks for.

    Raises:
        ImageError: Its headers make no sense.
    """
    try:
        return list(_needed(data))
    except (struct.error, ValueError, OverflowError) as error:
        raise ImageError(f"an ELF file cannot be read: {error}") from None


def _needed(data: bytes) -> Iterator[str]:
    offset, size, count = _PROGRAM_HEADERS.unpack_from(data, 32)
    headers = [_PROGRAM_HEADER.unpack_from(data, offset + size * index) for index in range(count)]
    entries = [
        struct.unpack_from("<qQ", data, start + step)
        for kind, _, start, _, _, length in headers
        if kind == _PT_DYNAMIC
        for step in range(0, length, 16)
    ]
    for strings in (value for tag, value in entries if tag == _DT_STRTAB):
        table = _file_offset(headers, strings)
        for tag, value in entries:
            if tag == _DT_NEEDED:
                start = table + value
                yield data[start : data.index(b"\0", start)].decode()


def _file_offset(headers: list[tuple[int, ...]], address: int) -> int:
    for kind, _, start, base, _, length in headers:
        if kind == _PT_LOAD and base <= address < base + length:
            return start + address - base
    raise ValueError(f"no segment holds address {address:#x}")
