from __future__ import annotations

import re
from pathlib import Path

import pytest

from blindgate.imaging import formats
from blindgate.imaging.formats import image_format, is_cut_off, is_text, other_format

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
        (b"\0\0\0\x1cftypmif1\0\0\0\0mif1avif", "An AVIF image"),
        (b"\0\0\0\x1cftypmsf1\0\0\0\0avis", "An AVIF image"),
        (b"\0\0\0\x1cftypmsf1\0\0\0\0hevc", "A HEIC photo"),
        (b"\0\0\0\x14ftyp3gp5\0\0\0\0", "A video"),
        (b"\0\0\0\x08wide\0\0\0\0mdat", "A video"),
        (b"RIFF\n\n\n\nAVI LIST", "A video"),
        (b"\0\0\0\x0cJXL \r\n\x87\n", "A JPEG XL image"),
        (b"\0\0\0\x0cjP  \r\n\x87\n", "A JPEG 2000 image"),
        (b"\xff\x4f\xff\x51", "A JPEG 2000 image"),
        (b"II+\0", "A TIFF or raw photo"),
        (b"IIRO\x08\0", "A TIFF or raw photo"),
        (b"FUJIFILMCCD-RAW 0201", "A TIFF or raw photo"),
        (b"8BPS\0\1", "A Photoshop file"),
        (b"\0\0\1\0\1\0", "An icon"),
        (b"P6\n20 10\n", "A PNM image"),
        (b"qoif\0\0\0\x14", "A QOI image"),
        (b"\xef\xbb\xbf  <?xml version", "An SVG or XML file"),
        (b"\x1f\x8b\x08", "A compressed file"),
        (b"\x28\xb5\x2f\xfd", "A compressed file"),
        (b"RIFF\n\n\n\nWAVEfmt ", "An audio file"),
        (b"OggS\0", "An audio file"),
        (b"\0\0\0\x1cftypM4A \0\0\0\0", "An audio file"),
        (b"\n<!DOCTYPE html>", "An HTML page"),
        (b"<html lang=en>", "An HTML page"),
        (b"\x01\x80\x05\x78", "An AWS Encryption SDK message without key commitment"),
        (b"version https://git-lfs.github.com/spec/v1", "A Git LFS pointer"),
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


def test_only_the_first_32_bytes_matter() -> None:
    assert other_format(bytes(32) + b"GIF89a") is None
    brands = b"\0\0\0\x24ftypmif1\0\0\0\0" + b"mif1" * 3
    assert len(brands) == 28
    assert other_format(brands + b"avif") == "An AVIF image"
    assert other_format(brands + b"mif1avif") == "A HEIC photo"


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"plain text,\twith a tab\r\nand lines\f", True),
        ("ümläut €".encode(), True),
        ("with a mark".encode("utf-8-sig"), True),
        (b"", False),
        (b"a\0b", False),
        (b"a\x1bb", False),
        (b"a\x0bb", False),
        (b"\xff\xfe", False),
        ("ü".encode("latin-1") + b"ber", False),
        # The 512th byte is the last that counts, and may be the first half of a character.
        (b"a" * 511 + "ü".encode(), True),
        (b"a" * 512 + b"\0", True),
        (b"a" * 511 + b"\0", False),
    ],
)
def test_text_is_printable_utf_8_in_its_first_512_bytes(content: bytes, text: bool) -> None:
    assert is_text(content) is text


JPEG, PNG = b"\xff\xd8\xff\xe0\0\x10JFIF", b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"
WEBP = b"RIFF\x0c\0\0\0WEBPVP8 data"


@pytest.mark.parametrize(
    ("content", "cut"),
    [
        (JPEG, True),
        (JPEG + b"\xff\xd9", False),
        (JPEG + b"\xff\xd9 and a video", False),
        (PNG, True),
        (PNG + b"\0\0\0\0IEND", False),
        (WEBP, False),
        (WEBP[:-1], True),
        (WEBP + b"more", False),
        (b"RIFF\0\1\0\0WEBP" + bytes(251), True),
        (b"RIFF\0\1\0\0WEBP" + bytes(252), False),
        (b"GIF89a", False),
        (b"", False),
    ],
)
def test_an_image_without_its_end_is_cut_off(content: bytes, cut: bool) -> None:
    assert is_cut_off(content) is cut


def test_the_console_has_the_same_list() -> None:
    """The names in the same order, each with a rule of its own."""
    source = (ROOT / "console" / "src" / "formats.ts").read_text()
    names = re.findall(r'^  \[/.*/[a-z]*, "(.+)"\],$', source, re.MULTILINE)
    assert names == [name for _, name in formats._OTHERS]
    assert len(names) == source.count('"],')
