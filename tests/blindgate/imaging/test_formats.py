from __future__ import annotations

import re
from pathlib import Path

import pytest

from blindgate.imaging import formats
from blindgate.imaging.formats import HEAD_BYTES, image_format, other_format

ROOT = Path(__file__).resolve().parents[3]


@pytest.mark.parametrize(
    ("head", "name"),
    [
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "A HEIC photo"),
        (b"\0\0\0\x1cftypmif1\0\0\0\0", "A HEIC photo"),
        (b"\0\0\0\x20ftypavif\0\0\0\0", "An AVIF image"),
        (b"\0\0\0\x18ftypcrx \0\0\0\0", "A Canon raw photo"),
        (b"\0\0\0\x14ftypqt  \0\0\0\0", "A video"),
        (b"\x1a\x45\xdf\xa3\x01\0\0\0", "A video"),
        (b"\xff\x0a\xfa\x3f", "A JPEG XL image"),
        (b"GIF89a\1\0\1\0", "A GIF"),
        (b"BM\x36\x10\0\0\0\0\0\0\x36\0", "A BMP image"),
        (b"II*\0\x08\0\0\0", "A TIFF or raw photo"),
        (b"MM\0*\0\0\0\x08", "A TIFF or raw photo"),
        (b"%PDF-1.7\n", "A PDF"),
        (b'<svg xmlns="http://www.w3.org/2000/svg">', "An SVG or XML file"),
        (b"PK\x03\x04\x14\0", "A ZIP archive"),
    ],
)
def test_other_formats_have_a_name(head: bytes, name: str) -> None:
    assert other_format(head) == name
    assert image_format(head) is None


@pytest.mark.parametrize(
    ("head", "name"),
    [
        (b"\xff\xd8\xff\xe0\0\x10JFIF", "jpeg"),
        (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "png"),
        (b"RIFF\n\n\n\nWEBPVP8 ", "webp"),
    ],
)
def test_the_accepted_formats_are_told_by_content(head: bytes, name: str) -> None:
    assert image_format(memoryview(head)) == name
    assert other_format(head) is None


@pytest.mark.parametrize(
    "head", [b"", b"\xff\xd8", b"not an image", b"BMW is a car maker", bytes(64)]
)
def test_unknown_bytes_have_no_name(head: bytes) -> None:
    assert image_format(head) is None
    assert other_format(head) is None


def test_only_the_first_bytes_matter() -> None:
    assert other_format(bytes(HEAD_BYTES) + b"GIF89a") is None


def test_the_console_has_the_same_list() -> None:
    """The names in the same order, each with a rule of its own."""
    source = (ROOT / "console" / "src" / "formats.ts").read_text()
    names = re.findall(r'^  \[/.*/[a-z]*, "(.+)"\],$', source, re.MULTILINE)
    assert names == [name for _, name in formats._OTHERS]
    assert len(names) == source.count('"],')
