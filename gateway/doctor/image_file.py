"""What an enclave image says about what it needs, read without the image's builder.

The header gives architecture and sections; the measured configuration names the KMS keys. It is
the file `etc/blindgate/enclave.toml` near the beginning of the last ramdisk, so a few megabytes are
read of an image of more than a hundred.

Sources: aws/aws-nitro-enclaves-image-format `src/defs/mod.rs` (the header); Linux
`Documentation/driver-api/early-userspace/buffer-format.rst` (the archive).
"""

from __future__ import annotations

import re
import struct
import tomllib
import zlib
from dataclasses import dataclass
from typing import Any, Final

from blindgate.errors import BlindgateError
from gateway.doctor.host import Host

_HEADER: Final = struct.Struct(">4sHHQQHH32Q32QII")
_SECTION: Final = struct.Struct(">HHQ")
_RAMDISK: Final = 3
_ARM64: Final = 0x1
_MAX_SECTIONS: Final = 32
#: No image is larger than its instance; this bounds where a file is read.
_MAX_BYTES: Final = 4 * 1024**3
#: Of the last ramdisk: CA bundle and configuration come first, by name.
_COMPRESSED: Final = 4 * 1024 * 1024
_UNPACKED: Final = 32 * 1024 * 1024
_CONFIG: Final = b"etc/blindgate/enclave.toml"
_ENTRY_BYTES: Final = 110
_KEY_ARN: Final = re.compile(r"arn:aws[a-z-]*:kms:[a-z0-9-]+:[0-9]{12}:key/[A-Za-z0-9-]+")
_MIB: Final = 1024 * 1024
#: nitro-cli refuses an enclave with less memory than this multiple of its image (error E26).
EIF_FACTOR: Final = 4


class UnreadableImage(BlindgateError):
    """The file is not an enclave image."""


@dataclass(frozen=True, slots=True)
class ImageFacts:
    """What is known of an image.

    Attributes:
        architecture: `x86_64` or `aarch64`.
        bytes: Its size, as the header has it.
        memory_mib: The least memory that nitro-cli accepts for it.
        key_arns: KMS keys of the measured configuration; empty if it could not be read.
        regions: The Regions whose KMS it can ask; empty if they could not be read.
        fips: Whether it asks KMS's FIPS endpoint.
    """

    architecture: str
    bytes: int
    memory_mib: int
    key_arns: tuple[str, ...] = ()
    regions: tuple[str, ...] = ()
    fips: bool = False


def inspect(host: Host, path: str) -> ImageFacts:
    """Read an image's header and, if it is one of ours, its configuration.

    Raises:
        OSError: The file cannot be read.
        UnreadableImage: It is not an enclave image.
    """
    head = host.read(path, limit=_HEADER.size)
    if len(head) < _HEADER.size or not head.startswith(b".eif"):
        raise UnreadableImage(f"{path} is not an enclave image")
    fields = _HEADER.unpack(head)
    flags, count = fields[2], fields[6]
    offsets, sizes = fields[7:39], fields[39:71]
    if not 1 <= count <= _MAX_SECTIONS:
        raise UnreadableImage(f"{path} names {count} sections")
    size = max(
        offset + _SECTION.size + length
        for offset, length in zip(offsets[:count], sizes[:count], strict=True)
    )
    if size > _MAX_BYTES:
        raise UnreadableImage(f"{path} says that it has {size:,} bytes")
    kms = _kms(_configuration(host, path, offsets[:count]))
    region = kms.get("region")
    key_arns = tuple(dict.fromkeys(_KEY_ARN.findall(str(kms.get("key_arns")))))
    return ImageFacts(
        "aarch64" if flags & _ARM64 else "x86_64",
        size,
        -(-EIF_FACTOR * size // _MIB),
        key_arns,
        (region,) if isinstance(region, str) else tuple(dict.fromkeys(_regions(key_arns))),
        kms.get("fips") is True,
    )


def _regions(key_arns: tuple[str, ...]) -> list[str]:
    return [arn.split(":")[3] for arn in key_arns]


def _configuration(host: Host, path: str, offsets: tuple[int, ...]) -> bytes:
    """The measured configuration, or nothing if the last ramdisk is not laid out as ours."""
    for offset in reversed(offsets):
        head = host.read(path, limit=_SECTION.size, offset=offset)
        if len(head) == _SECTION.size and _SECTION.unpack(head)[0] == _RAMDISK:
            start = offset + _SECTION.size
            return _find(_unpacked(host.read(path, limit=_COMPRESSED, offset=start)))
    return b""


def _unpacked(data: bytes) -> bytes:
    try:
        return zlib.decompressobj(wbits=31).decompress(data, _UNPACKED)
    except zlib.error:
        return b""


def _find(archive: bytes) -> bytes:
    at = 0
    while archive[at : at + 6] == b"070701" and len(archive) >= at + _ENTRY_BYTES:
        try:
            length = int(archive[at + 54 : at + 62], 16)
            name_length = int(archive[at + 94 : at + 102], 16)
        except ValueError:
            return b""
        name = archive[at + _ENTRY_BYTES : at + _ENTRY_BYTES + name_length].rstrip(b"\0")
        data = -(-(at + _ENTRY_BYTES + name_length) // 4) * 4
        if name == _CONFIG:
            found = archive[data : data + length]
            return found if len(found) == length else b""
        at = -(-(data + length) // 4) * 4
    return b""


def _kms(text: bytes) -> dict[str, Any]:
    try:
        found = tomllib.loads(text.decode()).get("kms", {})
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}
