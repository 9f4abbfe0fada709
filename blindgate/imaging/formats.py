"""What a file is, by its first bytes."""

from __future__ import annotations

import codecs
import re
from typing import Final, Literal

Format = Literal["jpeg", "png", "webp"]

#: How many of a file's first bytes are looked at.
HEAD_BYTES: Final = 32

#: What the enclave decodes, for messages.
ACCEPTED: Final = "JPEG, PNG or WebP"
#: How many bytes tell text from other content.
_TEXT_BYTES: Final = 512
_ACCEPTED: Final[tuple[tuple[bytes, Format], ...]] = (
    (rb"\xff\xd8\xff", "jpeg"),
    (rb"\x89PNG\r\n\x1a\n", "png"),
    (rb"RIFF.{4}WEBP", "webp"),
)
#: Names for what people try. The console has the same list (`console/src/formats.ts`).
_OTHERS: Final[tuple[tuple[bytes, str], ...]] = (
    (rb".{4}ftyp(?:mif1|msf1).{4}(?:.{4})*avi[fs]", "An AVIF image"),
    (rb".{4}ftyp(?:heic|heix|heim|heis|hevc|hevx|mif1|msf1)", "A HEIC photo"),
    (rb".{4}ftypavi[fs]", "An AVIF image"),
    (rb".{4}ftypcrx ", "A Canon raw photo"),
    (rb".{4}ftyp(?:qt  |isom|iso[0-9]|mp4[0-9]|M4V |avc1|3gp.|dash)", "A video"),
    (rb".{4}(?:moov|mdat|wide)", "A video"),
    (rb"\x1a\x45\xdf\xa3", "A video"),
    (rb"RIFF.{4}AVI ", "A video"),
    (rb"\x00{3}\x0cJXL \r\n\x87\n|\xff\x0a", "A JPEG XL image"),
    (rb"\x00{3}\x0cjP  \r\n\x87\n|\xff\x4f\xff\x51", "A JPEG 2000 image"),
    (rb"GIF8[79]a", "A GIF"),
    (rb"BM.{4}\x00{4}", "A BMP image"),
    (rb"II\*\x00|MM\x00\*|II\+\x00|MM\x00\+|IIU\x00|IIRO|FUJIFILMCCD-RAW", "A TIFF or raw photo"),
    (rb"8BPS", "A Photoshop file"),
    (rb"\x00\x00[\x01\x02]\x00", "An icon"),
    (rb"P[1-7][\s#]", "A PNM image"),
    (rb"qoif", "A QOI image"),
    (rb"%PDF", "A PDF"),
    (rb"(?:\xef\xbb\xbf)?\s{0,8}<(?:svg|\?xml)", "An SVG or XML file"),
    (rb"PK\x03\x04", "A ZIP archive"),
    (rb"\x1f\x8b|7z\xbc\xaf|BZh[1-9]|\xfd7zXZ\x00|\x28\xb5\x2f\xfd", "A compressed file"),
    (rb"RIFF.{4}WAVE|ID3|OggS|fLaC|.{4}ftypM4A ", "An audio file"),
    (rb"\s{0,8}<(?i:!doctype html|html)[\s>]", "An HTML page"),
    # What the AWS Encryption SDK wrote before its messages committed to a key.
    (rb"\x01\x80[\x00-\x05]", "An AWS Encryption SDK message without key commitment"),
    (rb"version https://git-lfs", "A Git LFS pointer"),
)


def image_format(head: bytes | memoryview) -> Format | None:
    """The format of an image that the enclave decodes; None if it is not one of the three.

    Args:
        head: The file, or its first `HEAD_BYTES` bytes.
    """
    start = bytes(head[:HEAD_BYTES])
    return next((name for rule, name in _ACCEPTED if re.match(rule, start, re.DOTALL)), None)


def other_format(head: bytes | memoryview) -> str | None:
    """The name of a file that the enclave does not decode, such as "A HEIC photo".

    Args:
        head: The file, or its first `HEAD_BYTES` bytes.

    Returns:
        None if it is one of the three accepted formats, or unknown.
    """
    start = bytes(head[:HEAD_BYTES])
    if image_format(start):
        return None
    return next((name for rule, name in _OTHERS if re.match(rule, start, re.DOTALL)), None)


def is_text(content: bytes) -> bool:
    """Whether a file begins with text in UTF-8."""
    try:
        # Incremental, since the last character may be cut in two.
        text = codecs.getincrementaldecoder("utf-8-sig")().decode(content[:_TEXT_BYTES])
    except UnicodeDecodeError:
        return False
    return bool(text) and all(each.isprintable() or each in "\t\n\r\f" for each in text)


def is_cut_off(content: bytes) -> bool:
    """Whether an accepted image lacks its end, as after a download that stopped."""
    match image_format(content):
        case "png":
            return b"IEND" not in content
        case "jpeg":
            return b"\xff\xd9" not in content
        case "webp":
            return len(content) < 8 + int.from_bytes(content[4:8], "little")
    return False
