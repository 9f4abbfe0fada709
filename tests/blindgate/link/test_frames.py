"""The codec of the link: docs/link.md §3 and §4."""

from __future__ import annotations

import struct
import tracemalloc
from typing import Any

import cbor2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from blindgate.detections import DetectOptions
from blindgate.link import (
    AnswerHeader,
    FrameError,
    FrameLimits,
    FrameReader,
    HeaderTooLarge,
    Operation,
    Outcome,
    RequestHeader,
    RequestRefused,
)
from blindgate.link.frames import MAX_DEADLINE_MS, MAX_HEADER

LIMITS = FrameLimits(body=100_000)
ID = bytes(range(16))

params = st.dictionaries(
    st.text(max_size=8),
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-(2**63), 2**63),
        st.floats(allow_nan=False),
        st.text(max_size=20),
        st.binary(max_size=64),
        st.lists(st.text(max_size=8), max_size=4),
    ),
    max_size=4,
)
bodies = st.binary(max_size=3000)
requests = st.builds(
    RequestHeader,
    st.sampled_from(Operation),
    st.binary(min_size=16, max_size=16),
    st.integers(0, MAX_DEADLINE_MS),
    params=params,
    caller=st.none() | st.binary(min_size=16, max_size=16),
)
answers = st.builds(
    AnswerHeader, st.binary(min_size=16, max_size=16), st.sampled_from(Outcome), params=params
)


def read_all(reader: FrameReader[Any], data: bytes, cuts: list[int]) -> list[Any]:
    """Feed `data` in pieces of the given sizes, over and over, and collect what comes out."""
    events, offset, turn = [], 0, 0
    while offset < len(data):
        target = reader.buffer()
        count = min(len(target), cuts[turn % len(cuts)], len(data) - offset)
        target[:count] = data[offset : offset + count]
        if (event := reader.received(count)) is not None:
            events.append(event)
        offset += count
        turn += 1
    return events


@settings(max_examples=60)
@given(
    st.lists(st.tuples(requests, bodies), max_size=4),
    st.lists(st.integers(1, 700), min_size=1, max_size=5),
)
def test_requests_come_out_as_they_went_in_however_they_are_cut(
    frames: list[tuple[RequestHeader, bytes]], cuts: list[int]
) -> None:
    frames = [
        (
            RequestHeader(h.operation, h.request_id, h.deadline_ms, len(body), h.params, h.caller),
            body,
        )
        for h, body in frames
    ]
    wire = b"".join(header.encode() + body for header, body in frames)
    reader = FrameReader(RequestHeader, LIMITS)
    expected: list[Any] = []
    for header, body in frames:
        expected.append(header)
        if body:
            expected.append(bytearray(body))
    assert read_all(reader, wire, cuts) == expected
    assert reader.is_between_frames


@given(answers)
def test_an_answer_header_round_trips(header: AnswerHeader) -> None:
    assert AnswerHeader.decode(header.encode()[4:]) == header


@given(st.one_of(requests, answers))
def test_a_header_is_written_deterministically(header: RequestHeader | AnswerHeader) -> None:
    written = header.encode()[4:]
    assert written == cbor2.dumps(cbor2.loads(written), canonical=True)


@settings(max_examples=300)
@given(st.binary(max_size=200), st.booleans())
def test_any_bytes_give_events_or_a_frame_error(data: bytes, with_length: bool) -> None:
    wire = struct.pack(">I", len(data)) + data if with_length else data
    with pytest.raises(FrameError) if _is_bad(wire) else _nothing():
        read_all(FrameReader(RequestHeader, LIMITS), wire, [64])


@settings(max_examples=200)
@given(requests, st.data())
def test_a_header_with_one_byte_changed_decodes_or_is_a_frame_error(
    header: RequestHeader, data: st.DataObject
) -> None:
    encoded = bytearray(header.encode()[4:])
    place = data.draw(st.integers(0, len(encoded) - 1))
    encoded[place] ^= data.draw(st.integers(1, 255))
    try:
        RequestHeader.decode(encoded)
    except FrameError:
        pass


class _nothing:  # noqa: N801
    def __enter__(self) -> None: ...

    def __exit__(self, *_: object) -> None: ...


def _is_bad(wire: bytes) -> bool:
    """Random bytes are no header; they only pass while the frame is still incomplete."""
    if len(wire) < 4:
        return False
    (length,) = struct.unpack(">I", wire[:4])
    return not 0 < length <= MAX_HEADER or len(wire) >= 4 + length


def request_fields(**changes: Any) -> dict[str, Any]:
    return {"v": 1, "op": "detect", "id": ID, "ms": 1000, "len": 0, "p": {}} | changes


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"v": 2}, "version"),
        ({"v": True}, "'v'"),
        ({"op": "shutdown"}, "operation"),
        ({"op": []}, "operation"),
        ({"id": b"short"}, "'id'"),
        ({"id": "sixteen letters!"}, "'id'"),
        ({"ms": -1}, "'ms'"),
        ({"ms": MAX_DEADLINE_MS + 1}, "'ms'"),
        ({"ms": 1.0}, "'ms'"),
        ({"len": 2**32}, "'len'"),
        ({"p": []}, "'p'"),
        ({"p": {"a": {"deep": 1}}}, "'p'"),
        ({"p": {1: "a"}}, "'p'"),
        ({"p": {"a": [1]}}, "'p'"),
        ({"extra": 1}, "fields"),
        ({"caller": None}, "'caller'"),
        ({"caller": bytes(15)}, "'caller'"),
        ({"caller": "sixteen letters!"}, "'caller'"),
    ],
)
def test_a_wrong_field_is_named(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(FrameError, match=says):
        RequestHeader.decode(cbor2.dumps(request_fields(**changes)))


def test_a_missing_field_is_refused() -> None:
    fields = request_fields()
    del fields["ms"]
    with pytest.raises(FrameError, match="fields"):
        RequestHeader.decode(cbor2.dumps(fields))


def test_a_header_of_four_levels_is_refused_alone_and_a_deeper_one_ends_the_connection() -> None:
    def decode(value: Any) -> None:
        fields = RequestHeader(Operation.DETECT, ID, 5, params={"p": value}).encode()[4:]
        RequestHeader.decode(fields)

    with pytest.raises(RequestRefused):
        decode([[1]])
    with pytest.raises(FrameError, match="not CBOR"):
        decode([[[1]]])


def test_a_key_that_comes_twice_is_refused() -> None:
    encoded = cbor2.dumps(request_fields())
    twice = b"\xa7" + encoded[1:] + cbor2.dumps("v") + cbor2.dumps(1)
    with pytest.raises(FrameError):
        RequestHeader.decode(twice)


def test_bytes_after_the_header_are_refused() -> None:
    with pytest.raises(FrameError):
        RequestHeader.decode(cbor2.dumps(request_fields()) + b"\x00")


def test_a_regular_expression_is_never_compiled() -> None:
    with pytest.raises(FrameError):
        RequestHeader.decode(cbor2.dumps(request_fields(p={"a": cbor2.CBORTag(35, "(a+)+b")})))


@pytest.mark.parametrize("length", [0, MAX_HEADER + 1, 0xFFFF_FFFF])
def test_a_header_length_over_the_limit_is_refused_before_memory_is_taken(length: int) -> None:
    reader = FrameReader(RequestHeader, LIMITS)
    reader.buffer()[:4] = struct.pack(">I", length)
    with pytest.raises(FrameError, match="over the limit or empty"):
        reader.received(4)


def test_a_body_over_the_limit_is_refused_before_memory_is_taken() -> None:
    header = RequestHeader(Operation.DETECT, ID, 1000, LIMITS.body + 1)
    with pytest.raises(FrameError, match="body of 100001 bytes"):
        read_all(FrameReader(RequestHeader, LIMITS), header.encode(), [4096])


def test_an_answer_is_no_request() -> None:
    with pytest.raises(FrameError):
        RequestHeader.decode(AnswerHeader(ID, Outcome.OK).encode()[4:])


def test_the_body_is_received_into_the_callers_memory() -> None:
    reader = FrameReader(RequestHeader, LIMITS)
    read_all(reader, RequestHeader(Operation.DETECT, ID, 1000, 5).encode(), [4096])
    memory = bytearray(8)
    reader.use_memory(memoryview(memory)[:5])
    (body,) = read_all(reader, b"hello", [2])
    assert bytes(body) == b"hello"
    assert memory == b"hello\0\0\0"


def test_memory_of_another_size_than_the_body_is_refused() -> None:
    reader = FrameReader(RequestHeader, LIMITS)
    with pytest.raises(ValueError, match="does not fit"):
        reader.use_memory(memoryview(bytearray(4)))
    read_all(reader, RequestHeader(Operation.DETECT, ID, 1000, 5).encode(), [4096])
    with pytest.raises(ValueError, match="does not fit"):
        reader.use_memory(memoryview(bytearray(4)))


def test_an_end_of_the_connection_inside_a_frame_is_an_error() -> None:
    reader = FrameReader(AnswerHeader, LIMITS)
    reader.buffer()[:1] = b"\0"
    reader.received(1)
    assert not reader.is_between_frames
    with pytest.raises(FrameError, match="ended inside"):
        reader.received(0)


def test_an_answer_names_no_caller() -> None:
    fields = {"v": 1, "out": "ok", "id": ID, "len": 0, "p": {}, "caller": bytes(16)}
    with pytest.raises(FrameError, match="fields"):
        AnswerHeader.decode(cbor2.dumps(fields))


def test_the_limits_are_those_of_the_specification() -> None:
    assert MAX_HEADER == 32_768
    assert MAX_DEADLINE_MS == 600_000


@pytest.mark.parametrize("letter", ["\U0001f4a5", "\uffff", '"', "x"])
def test_the_largest_valid_options_fit_into_a_header(letter: str) -> None:
    options = DetectOptions(
        min_score=0.123456789, max_detections=300, classes=(letter * 64,) * 100, tiles=3
    )
    params = options.model_dump(mode="json", exclude_none=True)
    header = RequestHeader(Operation.DETECT, ID, MAX_DEADLINE_MS, 2**32 - 1, params, bytes(16))
    encoded = header.encode()
    assert read_all(FrameReader(RequestHeader, FrameLimits(2**32 - 1)), encoded, [4096]) == [header]


@pytest.mark.parametrize(
    "header",
    [
        lambda params: RequestHeader(Operation.DETECT, ID, 1000, params=params),
        lambda params: AnswerHeader(ID, Outcome.OK, params=params),
    ],
)
def test_a_header_over_the_limit_is_not_written(header: Any) -> None:
    empty = len(header({"a": 1, "long": ""}).encode()) - 4
    # A text of over 255 bytes has two more bytes of length in front.
    room = 32_768 - empty - 2
    assert len(header({"a": 1, "long": "x" * room}).encode()) == 4 + 32_768
    with pytest.raises(HeaderTooLarge) as raised:
        header({"a": 1, "long": "x" * (room + 1)}).encode()
    assert (raised.value.size, raised.value.limit) == (32_769, 32_768)
    assert raised.value.parameter == "long"


def test_memory_for_a_body_is_taken_only_when_it_is_asked_for() -> None:
    body = 16 * 1024 * 1024
    header = RequestHeader(Operation.DETECT, ID, 1000, body).encode()
    memory = bytearray(body)
    reader = FrameReader(RequestHeader, FrameLimits(body))
    tracemalloc.start()
    try:
        read_all(reader, header, [4096])
        reader.use_memory(memoryview(memory))
        assert len(reader.buffer()) == body
        assert tracemalloc.get_traced_memory()[1] < body // 4
    finally:
        tracemalloc.stop()
