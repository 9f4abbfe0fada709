"""What a file is, by its first bytes: an image that the enclave opens, or something else.

Nothing here decodes anything. A client refuses with these names before it sends a file that
cannot be opened; everything that is not named here is for the enclave to judge.
"""

from __future__ import annotations

import codecs
import re
from typing import Final

#: What the enclave opens, for messages.
ACCEPTED: Final = "JPEG, PNG or WebP"

_ACCEPTED: Final = (
    (re.compile(rb"\xff\xd8\xff"), "image/jpeg"),
    (re.compile(rb"\x89PNG\r\n\x1a\n"), "image/png"),
    (re.compile(rb"RIFF.{4}WEBP", re.DOTALL), "image/webp"),
)
#: Looked at; the longest pattern below needs 32.
_HEAD: Final = 512
#: What people have and the enclave does not open. ISO base media files (HEIC, AVIF, MP4) name
#: their kind in a box `ftyp`: a major brand, a version, and further brands.
_OTHERS: Final = tuple(
    (re.compile(pattern, re.DOTALL), name)
    for pattern, name in (
        (rb".{4}ftypavi[fs]", "an AVIF image"),
        (rb".{4}ftyp(?:mif1|msf1|miaf).{0,64}?avi[fs]", "an AVIF image"),
        (rb".{4}ftyp(?:he[iv][cxms]|mif[12]|msf1|miaf)", "a HEIC photo"),
        (rb".{4}ftypcrx ", "a raw photo"),
        (rb".{4}ftypqt  ", "a QuickTime video"),
        (rb".{4}ftypM4A ", "an audio file"),
        (rb".{4}ftyp", "an MP4 video"),
        (rb".{4}(?:moov|mdat|wide)", "a QuickTime video"),
        (rb"\xff\x0a|\0\0\0\x0cJXL \r\n\x87\n", "a JPEG XL image"),
        (rb"\xff\x4f\xff\x51|\0\0\0\x0cjP  \r\n\x87\n", "a JPEG 2000 image"),
        (rb"GIF8[79]a", "a GIF image"),
        (rb"BM.{12}[\x0c\x28\x34\x38\x40\x6c\x7c]\0\0\0", "a BMP image"),
        (rb"II[*+U]\0|MM\0[*+]|IIR[OS]|FUJIFILMCCD-RAW", "a TIFF or raw photo"),
        (rb"8BPS", "a Photoshop file"),
        (rb"\0\0[\x01\x02]\0[\x01-\x40]\0", "an icon"),
        (rb"\x1a\x45\xdf\xa3", "a Matroska or WebM video"),
        (rb"RIFF.{4}AVI ", "an AVI video"),
        (rb"RIFF.{4}WAVE|ID3|OggS|fLaC", "an audio file"),
        (rb"\0\0\x01[\xb3\xba]|FLV\x01", "a video"),
        (rb"%PDF", "a PDF"),
        (rb"PK\x03\x04", "a ZIP archive or an office document"),
        (rb"\x1f\x8b|7z\xbc\xaf|BZh|\xfd7zXZ\0|\x28\xb5\x2f\xfd", "a compressed file"),
        (rb"\x7fELF|MZ.{56}.{4}", "a program"),
        (rb"\s*<(?:\?xml.{0,400}?<)?svg[\s>]", "an SVG drawing"),
        (rb"\s*<(?i:!doctype html|html)[\s>]", "an HTML page"),
        # What the AWS Encryption SDK wrote before its key commitment.
        (rb"\x01\x80[\0-\x05]", "an AWS Encryption SDK message without key commitment"),
    )
)
_PNG_END: Final = b"IEND"
_JPEG_END: Final = b"\xff\xd9"


def media_type(content: bytes) -> str | None:
    """The media type of an image that the enclave opens; None for anything else."""
    head = bytes(content[:_HEAD])
    return next((kind for pattern, kind in _ACCEPTED if pattern.match(head)), None)


def other_format(content: bytes) -> str | None:
    """What a file is that the enclave does not open, such as "a HEIC photo".

    Envelopes are not recognised here: ask `blindgate.envelope.recognise` first.

    Returns:
        A name with its article; None for what is accepted and for what has no name.
    """
    head = bytes(content[:_HEAD])
    if media_type(head):
        return None
    return next((name for pattern, name in _OTHERS if pattern.match(head)), None)


def is_cut_off(content: bytes) -> bool:
    """Whether an accepted image lacks its end, as after a download that stopped."""
    match media_type(content):
        case "image/png":
            return _PNG_END not in content
        case "image/jpeg":
            return _JPEG_END not in content
        case "image/webp":
            return len(content) < 8 + int.from_bytes(content[4:8], "little")
    return False


def is_text(content: bytes) -> bool:
    """Whether a file begins with text in UTF-8."""
    try:
        # Incremental, since the last character may be cut in two.
        text = codecs.getincrementaldecoder("utf-8-sig")().decode(bytes(content[:_HEAD]))
    except UnicodeDecodeError:
        return False
    return bool(text) and all(each.isprintable() or each in "\t\n\r\f" for each in text)
