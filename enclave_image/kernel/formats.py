"""The two forms of a kernel that boots as an enclave: x86 bzImage and arm64 Image.

Sources: Linux `Documentation/arch/x86/boot.rst`, `Documentation/arch/arm64/booting.rst`; the
layout of an embedded configuration from `kernel/configs.c`.
"""

from __future__ import annotations

import bz2
import lzma
import struct
import zlib
from typing import Final

from enclave_image.architecture import ARM64, X86_64
from enclave_image.errors import ImageError

_ELF: Final = b"\x7fELF"
_X86_MAGIC_AT: Final = 0x202
_X86_MAGIC: Final = b"HdrS"
_X86_HEADER: Final = 0x268
_BOOT_FLAG_AT: Final = 0x1FE
_BOOT_FLAG: Final = b"\x55\xaa"
_SECTOR: Final = 512
_PARAGRAPH: Final = 16
#: Sectors of real-mode code where the header says 0, for reasons of history.
_OLD_SETUP: Final = 4
_VERSION_AT: Final = 0x20E
_VERSION_BASE: Final = 0x200
_LONGEST_VERSION: Final = 128
_ARM64_MAGIC_AT: Final = 0x38
_ARM64_MAGIC: Final = b"ARM\x64"
_BANNER: Final = b"Linux version "
_TEXT_OFFSET_AT: Final = 8
#: Where Nitro loads an arm64 kernel: AWS's own builds say 2 MiB in `text_offset`
#: (aws-nitro-enclaves-sdk-bootstrap `kernel/kernel.nix`), Linux since 5.8 says 0.
_TEXT_OFFSET: Final = 2 * 1024 * 1024
_CONFIG_BEGINS: Final = b"IKCFG_ST"
_CONFIG_ENDS: Final = b"IKCFG_ED"
#: More than any kernel for an enclave unpacks to, and any configuration.
_MAX_UNPACKED: Final = 256 * 1024 * 1024
_MAX_CONFIG: Final = 4 * 1024 * 1024


def architecture_of(kernel: bytes) -> str:
    """Which architecture a kernel is for, after checking that it is whole.

    Returns:
        `x86_64` or `arm64`.

    Raises:
        ImageError: It is neither a bzImage nor an arm64 Image, or a part of one.
    """
    if kernel.startswith(_ELF):
        raise ImageError(
            "the kernel is an ELF file (vmlinux), which no enclave boots: give the bzImage that "
            "the same build makes in arch/x86/boot"
        )
    if kernel[_ARM64_MAGIC_AT : _ARM64_MAGIC_AT + 4] == _ARM64_MAGIC:
        return ARM64.name
    magic = kernel[_X86_MAGIC_AT : _X86_MAGIC_AT + 4] == _X86_MAGIC
    if not magic or kernel[_BOOT_FLAG_AT : _BOOT_FLAG_AT + 2] != _BOOT_FLAG:
        raise ImageError("the kernel is neither an x86 bzImage nor an arm64 Image")
    if len(kernel) < _X86_HEADER or len(kernel) < (wanted := sum(_x86_parts(kernel))):
        wanted = _X86_HEADER if len(kernel) < _X86_HEADER else wanted
        raise ImageError(
            f"the kernel is cut off: {len(kernel)} of {wanted} bytes are there; copy it again"
        )
    return X86_64.name


def _x86_parts(kernel: bytes) -> tuple[int, int]:
    """Bytes of a bzImage's real-mode code and of what follows it."""
    (paragraphs,) = struct.unpack_from("<I", kernel, 0x1F4)
    return _x86_setup(kernel), paragraphs * _PARAGRAPH


def _x86_setup(kernel: bytes) -> int:
    return ((kernel[0x1F1] or _OLD_SETUP) + 1) * _SECTOR


def version(kernel: bytes) -> str:
    """What a kernel calls itself, e.g. `6.12.117`; `unknown` if it does not say."""
    if kernel[_ARM64_MAGIC_AT : _ARM64_MAGIC_AT + 4] == _ARM64_MAGIC:
        # The header has no field for it, but the image is not compressed (`init/version.c`).
        start = kernel.find(_BANNER) + len(_BANNER)
        return _first_word(kernel[start:]) if start >= len(_BANNER) else "unknown"
    magic = kernel[_X86_MAGIC_AT : _X86_MAGIC_AT + 4]
    if magic != _X86_MAGIC or len(kernel) < _VERSION_AT + 2:
        return "unknown"
    (offset,) = struct.unpack_from("<H", kernel, _VERSION_AT)
    return _first_word(kernel[offset + _VERSION_BASE :])


def _first_word(data: bytes) -> str:
    text = data[:_LONGEST_VERSION].split(b"\0")[0]
    words = text.decode("ascii", errors="replace").split()
    return words[0] if words else "unknown"


def for_nitro(kernel: bytes) -> bytes:
    """An arm64 kernel with the load offset that Nitro wants; an x86 kernel as it is."""
    if kernel[_ARM64_MAGIC_AT : _ARM64_MAGIC_AT + 4] != _ARM64_MAGIC:
        return kernel
    data = bytearray(kernel)
    struct.pack_into("<Q", data, _TEXT_OFFSET_AT, _TEXT_OFFSET)
    return bytes(data)


def embedded_config(kernel: bytes) -> str | None:
    """The configuration inside a kernel that was built with `CONFIG_IKCONFIG`.

    Args:
        kernel: A whole kernel; see `architecture_of`.

    Returns:
        The text, or None if there is none or the kernel's compression is not known here.
    """
    unpacked = kernel if architecture_of(kernel) == ARM64.name else _unpacked(kernel)
    begin = unpacked.find(_CONFIG_BEGINS)
    end = unpacked.find(_CONFIG_ENDS, begin)
    if begin < 0 or end < 0:
        return None
    try:
        data = zlib.decompressobj(31).decompress(
            unpacked[begin + len(_CONFIG_BEGINS) : end], _MAX_CONFIG
        )
        return data.decode()
    except (zlib.error, UnicodeDecodeError):
        return None


def _unpacked(kernel: bytes) -> bytes:
    """A bzImage's payload, unpacked; empty if it is compressed in a way that is not known here."""
    offset, length = struct.unpack_from("<II", kernel, 0x248)
    start = _x86_setup(kernel) + offset
    payload = kernel[start : start + length]
    for decompressor in (
        zlib.decompressobj(31),
        lzma.LZMADecompressor(),
        bz2.BZ2Decompressor(),
    ):
        try:
            return decompressor.decompress(payload, _MAX_UNPACKED)
        except (zlib.error, lzma.LZMAError, OSError, EOFError):
            continue
    return b""
