"""A decoding can be ended between pieces of the file."""

from __future__ import annotations

import time

import numpy as np
import pytest
from PIL import Image

from blindgate.imaging.decode import decode, inspect
from blindgate.imaging.limits import DEFAULT_LIMITS
from tests.blindgate.imaging import corpus
from tests.blindgate.imaging.files import encoded

NOISE = Image.fromarray(np.random.default_rng(2).integers(0, 256, (1200, 1600, 3), np.uint8))


class TooLateError(TimeoutError):
    """Also an OSError, which is what damaged files raise."""


def calls(file: bytes, *, end_after: int = 10**9) -> int:
    count = 0

    def checkpoint() -> None:
        nonlocal count
        count += 1
        if count >= end_after:
            raise TooLateError

    decode(inspect(file, DEFAULT_LIMITS), (1600, 1200), checkpoint)
    return count


@pytest.mark.parametrize(
    ("kind", "options", "least"),
    [
        ("JPEG", {"quality": 95}, 2),
        ("JPEG", {"quality": 95, "progressive": True}, 10),
        ("PNG", {}, 5_000_000 // 65_536),
        ("WEBP", {"quality": 80}, 2),
    ],
)
def test_the_deadline_is_looked_at_between_pieces(
    kind: str, options: dict[str, object], least: int
) -> None:
    file = encoded(NOISE, kind, **options)
    count = calls(file)
    assert count >= least
    for end_after in (1, 2, count // 2 + 1, count):
        with pytest.raises(TooLateError):
            calls(file, end_after=end_after)


def test_many_scans_end_at_the_deadline_and_not_after_all_of_them() -> None:
    """A hundred scans over 12 megapixels: seconds of work in one piece of the file."""
    file = encoded(Image.new("L", (4000, 3000), 77), "JPEG", progressive=True)
    last = file.rindex(b"\xff\xda")
    scans = file.count(b"\xff\xda")
    file = file[:-2] + file[last:-2] * (100 - scans) + b"\xff\xd9"
    assert len(file) < 1_000_000
    ends = time.process_time() + 0.2
    header = inspect(file, DEFAULT_LIMITS)

    def checkpoint() -> None:
        if time.process_time() >= ends:
            raise TooLateError

    with pytest.raises(TooLateError):
        decode(header, (3000, 2250), checkpoint)
    whole = calls(file)
    assert whole >= 100


def test_the_header_of_a_hostile_file_is_read_in_little_time() -> None:
    """20 MB of fill bytes took 16 seconds, with the interpreter's lock held."""
    file = corpus.after_jfif(corpus.jpeg(), b"\xff" * 20_000_000)
    started = time.process_time()
    for _ in range(3):
        with pytest.raises(Exception, match="too many"):
            inspect(file, DEFAULT_LIMITS)
    assert time.process_time() - started < 3  # a bound against the fault, a hundred times the need
