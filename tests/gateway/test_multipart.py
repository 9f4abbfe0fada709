"""The one file of a form."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from blindgate import problems
from gateway.http.multipart import boundary_of, only_file
from gateway.http.problem_responses import Refused

BOUNDARY = b"----boundary"
FILE = b'content-disposition: form-data; name="file"; filename="a"\r\n\r\n'


def form(*parts: bytes, end: bytes = b"--\r\n") -> bytes:
    return b"".join(b"--" + BOUNDARY + b"\r\n" + p + b"\r\n" for p in parts) + (
        b"--" + BOUNDARY + end
    )


def refusal(body: bytes) -> problems.Problem:
    with pytest.raises(Refused) as refused:
        only_file([body], BOUNDARY)
    return refused.value.problem


@settings(deadline=None)
@given(st.binary(min_size=1, max_size=2000), st.lists(st.integers(1, 300), min_size=1, max_size=5))
def test_the_file_is_found_however_the_body_is_cut(content: bytes, cuts: list[int]) -> None:
    body = form(FILE + content)
    chunks, offset, turn = [], 0, 0
    while offset < len(body):
        size = cuts[turn % len(cuts)]
        chunks.append(body[offset : offset + size])
        offset, turn = offset + size, turn + 1
    assert b"".join(only_file(chunks, BOUNDARY)) == content


@settings(deadline=None)
@given(st.lists(st.sampled_from([b"--", BOUNDARY, b"\r\n", FILE, b"x", b":", b'"']), max_size=12))
def test_no_body_does_harm(pieces: list[bytes]) -> None:
    try:
        assert only_file([b"".join(pieces)], BOUNDARY)
    except Refused:
        pass


@given(st.binary(max_size=300))
def test_no_bytes_do_harm(body: bytes) -> None:
    try:
        only_file([body], BOUNDARY)
    except Refused:
        pass


def test_what_is_not_one_file_is_refused() -> None:
    field = b'content-disposition: form-data; name="file"\r\n\r\nx'
    assert refusal(form(FILE + b"a", FILE + b"b")) is problems.INVALID_REQUEST
    assert refusal(form(FILE + b"a", field)) is problems.INVALID_REQUEST
    assert refusal(form(field)) is problems.INVALID_REQUEST
    assert refusal(b"--" + BOUNDARY + b"--\r\n") is problems.INVALID_REQUEST
    assert refusal(b"not a form") is problems.INVALID_REQUEST
    assert refusal(form(b"x: " + b"y" * 10_000 + b"\r\n\r\n")) is problems.INVALID_REQUEST
    assert refusal(form(FILE)) is problems.EMPTY_BODY
    assert refusal(form(FILE + b"half")[:-12]) is problems.UPLOAD_INCOMPLETE


@pytest.mark.parametrize(
    "content_type",
    [
        "multipart/form-data",
        "multipart/form-data; boundary=",
        f"multipart/form-data; boundary={'b' * 71}",
    ],
)
def test_a_boundary_is_needed(content_type: str) -> None:
    with pytest.raises(Refused) as refused:
        boundary_of(content_type)
    assert refused.value.problem is problems.INVALID_REQUEST


@pytest.mark.parametrize("boundary", ["b", "b" * 70])
def test_a_boundary_has_1_to_70_characters(boundary: str) -> None:
    content_type = f'multipart/form-data; charset=utf-8; boundary="{boundary}"'
    assert boundary_of(content_type) == boundary.encode()


def test_a_part_has_at_most_8_headers_of_4096_bytes() -> None:
    def found(*headers: bytes) -> bytes:
        lines = b"".join(line + b"\r\n" for line in headers)
        return b"".join(only_file([form(lines + FILE + b"content")], BOUNDARY))

    assert found(*(b"x-%d: y" % number for number in range(7))) == b"content"
    longest = b"x: " + b"y" * (4096 - 3)
    assert found(longest) == b"content"
    for headers in ([b"x-%d: y" % number for number in range(8)], [longest + b"y"]):
        with pytest.raises(Refused) as refused:
            found(*headers)
        assert refused.value.problem is problems.INVALID_REQUEST


@pytest.mark.parametrize(
    "header",
    [
        b'Content-Disposition: form-data; name="file"; filename="a"',
        b'content-type: image/jpeg\r\ncontent-disposition: form-data; filename="a"',
        b'content-disposition: form-data; filename="a"\r\ncontent-type: image/jpeg',
        b"content-disposition: form-data; filename=a",
    ],
)
def test_a_part_with_a_file_name_is_a_file(header: bytes) -> None:
    assert b"".join(only_file([form(header + b"\r\n\r\nx")], BOUNDARY)) == b"x"


@pytest.mark.parametrize(
    "header",
    [
        b"content-type: image/jpeg",
        b'content-disposition: attachment; filename="a"',
        b'content-disposition: form-data; name="filename"',
        b'x-content-disposition: form-data; filename="a"',
    ],
)
def test_a_part_that_does_not_say_that_it_is_a_file_is_refused(header: bytes) -> None:
    assert refusal(form(header + b"\r\n\r\nx")) is problems.INVALID_REQUEST
