"""The fuzz targets run, on random bytes and on what lies near valid input."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.blindgate.envelope.messages import SIGNED, Writer
from tests.fuzz import attestation, envelope, link, sealing
from tests.vectors import link as link_vectors

TARGETS = [attestation.one_input, envelope.one_input, link.one_input, sealing.one_input]
FRAMES = [
    bytes.fromhex(each["frame"])
    for kind in ("requests", "answers")
    for each in json.loads(link_vectors.PATH.read_text())[kind]
]
MESSAGES = [
    Writer(frame=4).write(b"a small photo"),
    Writer(frame=4, suite=SIGNED).write(b"a small photo"),
    Writer(frame=0).write(b"a small photo"),
]


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.__module__)
@settings(max_examples=60)
@given(data=st.binary(max_size=600))
def test_random_bytes_are_refused_by_type(target: Callable[[bytes], None], data: bytes) -> None:
    target(data)


@settings(max_examples=200)
@given(
    frame=st.sampled_from(FRAMES),
    place=st.integers(0, 10_000),
    value=st.integers(0, 255),
    rest=st.binary(max_size=40),
)
def test_frames_with_a_changed_byte_are_read_or_refused(
    frame: bytes, place: int, value: int, rest: bytes
) -> None:
    changed = bytearray(frame)
    changed[place % len(changed)] = value
    link.one_input(bytes(changed) + rest)


@settings(max_examples=200, deadline=None)
@given(
    message=st.sampled_from(MESSAGES),
    place=st.integers(0, 10_000),
    removed=st.integers(0, 40),
    put=st.binary(max_size=40),
)
def test_messages_with_changed_bytes_are_read_as_the_stock_library_reads_them(
    message: bytes, place: int, removed: int, put: bytes
) -> None:
    at = place % (len(message) + 1)
    envelope.one_input(message[:at] + put + message[at + removed :])
