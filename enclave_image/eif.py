"""The enclave image format, version 4: what nitro-cli calls an EIF.

All integers are big-endian. A header of 548 bytes, then sections of a 12-byte header and data:

    header   ".eif" ‖ u16 version ‖ u16 flags ‖ u64 memory ‖ u64 cpus ‖ u16 reserved
             ‖ u16 sections ‖ u64[32] offsets ‖ u64[32] sizes ‖ u32 unused ‖ u32 CRC-32
    section  u16 type ‖ u16 flags ‖ u64 size ‖ data

The CRC covers the file but for itself. Nothing here is authenticated: what counts are the
measurements (`enclave_image.pcrs`), and the metadata section is not even measured.

Source: aws/aws-nitro-enclaves-image-format, `src/defs/mod.rs` and `src/utils/mod.rs`.
"""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Final

from enclave_image.errors import MalformedImage

MAGIC: Final = b".eif"
VERSION: Final = 4
#: What the format has room for.
MAX_SECTIONS: Final = 32
#: No enclave is larger than its parent; this bounds what a reader takes into memory.
MAX_BYTES: Final = 4 * 1024**3
#: The kernel's own limit for x86 (COMMAND_LINE_SIZE).
MAX_COMMAND_LINE: Final = 2048
MAX_METADATA: Final = 1024 * 1024

_HEADER: Final = struct.Struct(">4sHHQQHH32Q32QII")
_SECTION: Final = struct.Struct(">HHQ")
#: The CRC is the header's last field.
_CRC_AT: Final = _HEADER.size - 4
_ARM64: Final = 0x1


class SectionType(IntEnum):
    """What a section holds."""

    KERNEL = 1
    COMMAND_LINE = 2
    RAMDISK = 3
    SIGNATURE = 4
    METADATA = 5


_SINGLE: Final = (SectionType.KERNEL, SectionType.COMMAND_LINE)
_AT_MOST_ONE: Final = (*_SINGLE, SectionType.SIGNATURE, SectionType.METADATA)


@dataclass(frozen=True, slots=True)
class Section:
    """One section.

    Attributes:
        kind: What it holds.
        data: Its bytes; a view of the file when it was read from one.
        flags: None is defined.
    """

    kind: SectionType
    data: bytes | memoryview
    flags: int = 0


@dataclass(frozen=True, slots=True)
class Image:
    """An enclave image in memory.

    Attributes:
        sections: In the file's order, which the measurements follow.
        arm64: Built for Arm instead of x86-64.
        memory: Default memory in bytes; nitro-cli writes it, and asks its user all the same.
        cpus: Default number of CPUs.
    """

    sections: tuple[Section, ...]
    arm64: bool = False
    memory: int = 1024**3
    cpus: int = 2

    def of(self, kind: SectionType) -> list[memoryview]:
        """The data of every section of a kind."""
        return [memoryview(each.data) for each in self.sections if each.kind is kind]

    @property
    def kernel(self) -> memoryview:
        """The kernel."""
        return self.of(SectionType.KERNEL)[0]

    @property
    def command_line(self) -> bytes:
        """The kernel's command line."""
        return bytes(self.of(SectionType.COMMAND_LINE)[0])

    @property
    def ramdisks(self) -> list[memoryview]:
        """The ramdisks; by convention the first boots and the others are the application."""
        return self.of(SectionType.RAMDISK)

    @property
    def signed(self) -> bool:
        """Whether there is a signature section, which would be measured as PCR8."""
        return bool(self.of(SectionType.SIGNATURE))

    def metadata(self) -> Mapping[str, Any]:
        """What the builder says about the image: unmeasured, so never to be trusted.

        Raises:
            MalformedImage: It is not a JSON object.
        """
        found = self.of(SectionType.METADATA)
        if not found:
            return {}
        try:
            value = json.loads(bytes(found[0]))
        except (ValueError, RecursionError):
            raise MalformedImage("the metadata section is not JSON") from None
        if not isinstance(value, dict):
            raise MalformedImage("the metadata section is not a JSON object")
        return value


def write(image: Image) -> bytes:
    """The file of an image.

    Raises:
        MalformedImage: It breaks a rule that `read` would refuse it for.
    """
    _check(image)
    count = len(image.sections)
    offsets, sizes = [0] * MAX_SECTIONS, [0] * MAX_SECTIONS
    position = _HEADER.size
    for index, section in enumerate(image.sections):
        offsets[index], sizes[index] = position, len(section.data)
        position += _SECTION.size + len(section.data)
    if position > MAX_BYTES:
        raise MalformedImage(f"an image of {position} bytes is larger than {MAX_BYTES}")
    flags = _ARM64 if image.arm64 else 0
    fields = (MAGIC, VERSION, flags, image.memory, image.cpus, 0, count, *offsets, *sizes, 0)
    body = bytearray(_HEADER.pack(*fields, 0))
    for section in image.sections:
        body += _SECTION.pack(section.kind, section.flags, len(section.data))
        body += section.data
    body[_CRC_AT : _HEADER.size] = _crc(memoryview(body)).to_bytes(4)
    return bytes(body)


def read(data: bytes | memoryview) -> Image:
    """Parse an image; the sections are views of `data`.

    Raises:
        MalformedImage: It is not an image of version 4, or its checksum is wrong.
    """
    view = memoryview(data)
    if len(view) > MAX_BYTES:
        raise MalformedImage(f"{len(view)} bytes are more than an image may have")
    if len(view) < _HEADER.size or bytes(view[:4]) != MAGIC:
        raise MalformedImage("not an enclave image (EIF)")
    _, version, flags, memory, cpus, _, count, *rest = _HEADER.unpack_from(view)
    if version != VERSION:
        raise MalformedImage(f"format version {version}; only {VERSION} is known")
    if not 1 <= count <= MAX_SECTIONS:
        raise MalformedImage(f"{count} sections; 1 to {MAX_SECTIONS} are possible")
    if rest[-1] != _crc(view):
        raise MalformedImage("the checksum is wrong: the file is damaged or incomplete")
    offsets, sizes = rest[:MAX_SECTIONS], rest[MAX_SECTIONS : 2 * MAX_SECTIONS]
    sections = []
    position = _HEADER.size
    for index in range(count):
        # Sections follow each other without a gap, so that no byte goes unmeasured unseen.
        if offsets[index] != position:
            raise MalformedImage(f"section {index} is not where the one before it ends")
        section = _section(view, index, position, sizes[index])
        sections.append(section)
        position += _SECTION.size + len(section.data)
    if position != len(view):
        raise MalformedImage(f"{len(view) - position} bytes after the last section")
    image = Image(tuple(sections), bool(flags & _ARM64), memory, cpus)
    _check(image)
    return image


def _section(view: memoryview, index: int, position: int, size: int) -> Section:
    start = position + _SECTION.size
    if start + size > len(view):
        raise MalformedImage(f"section {index} reaches beyond the end of the file")
    kind, flags, length = _SECTION.unpack_from(view, position)
    if length != size:
        raise MalformedImage(f"section {index} has two different sizes")
    try:
        return Section(SectionType(kind), view[start : start + size], flags)
    except ValueError:
        raise MalformedImage(f"section {index} is of the unknown type {kind}") from None


def _check(image: Image) -> None:
    kinds = [section.kind for section in image.sections]
    if len(kinds) > MAX_SECTIONS:
        raise MalformedImage(f"{len(kinds)} sections; {MAX_SECTIONS} are possible")
    for kind in _AT_MOST_ONE:
        if kinds.count(kind) > 1:
            raise MalformedImage(f"more than one {_name(kind)} section")
    for kind in (*_SINGLE, SectionType.RAMDISK):
        if kind not in kinds:
            raise MalformedImage(f"no {_name(kind)} section")
    _limit(image.of(SectionType.COMMAND_LINE), MAX_COMMAND_LINE, "command line")
    _limit(image.of(SectionType.METADATA), MAX_METADATA, "metadata")


def _limit(found: Iterable[memoryview], most: int, what: str) -> None:
    if any(len(data) > most for data in found):
        raise MalformedImage(f"the {what} is longer than {most} bytes")


def _name(kind: SectionType) -> str:
    return kind.name.lower().replace("_", " ")


def _crc(view: memoryview) -> int:
    return zlib.crc32(view[_HEADER.size :], zlib.crc32(view[:_CRC_AT]))
