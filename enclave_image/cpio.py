"""Archives that the Linux kernel unpacks as its first root file system, the same for ever.

The "new ASCII" format (newc): each entry is a header of 110 characters, the name with a zero
byte, padding to four bytes, the data, padding again; after the last entry comes one named
`TRAILER!!!`. Owners are root, times are zero, inode numbers count up, names are sorted: equal
content gives equal bytes.

Source: Linux `Documentation/driver-api/early-userspace/buffer-format.rst`.
"""

from __future__ import annotations

import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Final

from enclave_image.errors import ImageError

_MAGIC: Final = "070701"
_TRAILER: Final = "TRAILER!!!"
#: Fields are eight hexadecimal digits.
_MAX_DATA: Final = 0xFFFFFFFF


@dataclass(frozen=True, slots=True)
class Entry:
    """A file, a folder or a symbolic link.

    Attributes:
        mode: Type and permission bits, as in `stat`.
        data: The content of a file, the target of a link.
    """

    mode: int
    data: bytes = b""


FOLDER: Final = Entry(stat.S_IFDIR | 0o755)


def file(data: bytes, *, executable: bool = False) -> Entry:
    """A regular file that everybody may read and nobody but root could write."""
    return Entry(stat.S_IFREG | (0o755 if executable else 0o644), data)


def link(target: str) -> Entry:
    """A symbolic link."""
    return Entry(stat.S_IFLNK | 0o777, target.encode())


def archive(entries: Mapping[str, Entry]) -> bytes:
    """Pack entries; folders on the way to them are added.

    Args:
        entries: By path from the root, without a leading slash.

    Raises:
        ImageError: A path is not a plain relative one, or data is larger than 4 GiB.
    """
    complete = dict(entries)
    for name in entries:
        path = PurePosixPath(name)
        if path.is_absolute() or ".." in path.parts or str(path) in ("", ".") or "\0" in name:
            raise ImageError(f"{name!r} cannot be the path of a file in an image")
        for parent in path.parents:
            if str(parent) != ".":
                complete.setdefault(str(parent), FOLDER)
    return b"".join(_packed(complete))


def _packed(entries: Mapping[str, Entry]) -> Iterator[bytes]:
    for number, name in enumerate(sorted(entries), start=1):
        yield from _entry(number, name, entries[name])
    yield from _entry(0, _TRAILER, Entry(0))


def _entry(number: int, name: str, entry: Entry) -> Iterator[bytes]:
    if len(entry.data) > _MAX_DATA:
        raise ImageError(f"{name} is larger than an archive can hold")
    encoded = name.encode() + b"\0"
    links = 2 if stat.S_ISDIR(entry.mode) else 1
    # inode, mode, owner, group, links, time, size, four device numbers, name length, checksum
    fields = (number, entry.mode, 0, 0, links, 0, len(entry.data), 0, 0, 0, 0, len(encoded), 0)
    header = (_MAGIC + "".join(f"{field:08X}" for field in fields)).encode() + encoded
    yield header + bytes(-len(header) % 4)
    yield entry.data
    yield bytes(-len(entry.data) % 4)
