"""Reads the files of a binary package without dpkg.

A .deb is an `ar` archive of three members; the last is a tar archive of the files.

Source: deb(5), ar(5). Packages are opened only after their SHA-256 was checked, so this reader
needs to be right, not suspicious.
"""

from __future__ import annotations

import io
import lzma
import stat
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from enclave_image.cpio import Entry, file, link
from enclave_image.errors import ImageError

_MAGIC: Final = b"!<arch>\n"
_MEMBER: Final = 60
_ENDS: Final = b"`\n"


def read_files(path: Path) -> dict[str, Entry]:
    """The files and symbolic links of a package, by path from the root; folders are left out.

    Raises:
        ImageError: It is not a package that we can open.
    """
    try:
        with tarfile.open(fileobj=io.BytesIO(_data_member(path)), mode="r:*") as tar:
            return dict(_entries(tar))
    except (tarfile.TarError, lzma.LZMAError, EOFError, ValueError) as error:
        raise ImageError(f"{path.name} is not a Debian package: {error}") from None


def _data_member(path: Path) -> bytes:
    data = path.read_bytes()
    if not data.startswith(_MAGIC):
        raise ImageError(f"{path.name} is not a Debian package")
    position = len(_MAGIC)
    while position + _MEMBER <= len(data):
        header = data[position : position + _MEMBER]
        if header[58:] != _ENDS:
            break
        size = int(header[48:58])
        position += _MEMBER
        if header[:16].startswith(b"data.tar"):
            return data[position : position + size]
        position += size + size % 2
    raise ImageError(f"{path.name} has no data member")


def _entries(tar: tarfile.TarFile) -> Iterator[tuple[str, Entry]]:
    for member in tar:
        name = member.name.removeprefix("./")
        if member.issym():
            yield name, link(member.linkname)
        elif member.isfile() or member.islnk():
            content = tar.extractfile(member)
            if content is not None:
                yield name, file(content.read(), executable=bool(member.mode & stat.S_IXUSR))
