"""Binary HTTP: RFC 9292's examples to the byte, round trips, and everything that is refused."""

from __future__ import annotations

from contextlib import nullcontext

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from blindgate.sealing import bhttp, varint
from blindgate.sealing.errors import BinaryHttpError
from blindgate.sealing.fields import CONNECTION_FIELDS, check, find

# RFC 9292 §5.1, known-length and indeterminate-length encodings of one request.
REQUEST = bytes.fromhex(
    "00034745540568747470730" + "00a2f68656c6c6f2e747874406c0a757365722d6167656e74346375726c2f37"
    "2e31362e33206c69626375726c2f372e31362e33204f70656e53534c2f302e392e376c207a6c69622f312e322e33"
    "04686f73740f7777772e6578616d706c652e636f6d0f6163636570742d6c616e677561676506656e2c206d690000"
)
REQUEST_CHUNKED = bytes.fromhex(
    "0203474554056874747073000a2f68656c6c6f2e7478740a757365722d6167656e74346375726c2f372e31362e33"
    "206c69626375726c2f372e31362e33204f70656e53534c2f302e392e376c207a6c69622f312e322e3304686f7374"
    "0f7777772e6578616d706c652e636f6d0f6163636570742d6c616e677561676506656e2c206d6900"
    "0000000000000000000000" + "00"
)
# RFC 9292 §5.2, the known-length response with a trailer.
RESPONSE = bytes.fromhex(
    "0140c8001d5468697320636f6e74656e7420636f6e7461696e732043524c462e0d0a0d07747261696c6572"
    "0474657874"
)
# RFC 9292 §5.2, a response with two informational ones before it.
RESPONSE_CHUNKED = bytes.fromhex(
    "034066 07 72756e6e696e67 0a 22736c65657020313522 00 4067 046c696e6b 23 3c2f7374796c652e637373"
    "3e3b2072656c3d7072656c6f61643b2061733d7374796c65 046c696e6b 24 3c2f7363726970742e6a733e3b2072"
    "656c3d7072656c6f61643b2061733d736372697074 00 40c8 04 64617465 1d 4d6f6e2c203237204a756c2032"
    "3030392031323a32383a353320474d54 06 736572766572 06 417061636865 0d 6c6173742d6d6f646966696564"
    "1d 5765642c203232204a756c20323030392031393a31353a353620474d54 04 65746167 14 223334616133383"
    "72d642d3135363865623030 22 0d 6163636570742d72616e676573 05 6279746573 0e 636f6e74656e742d6c"
    "656e677468 02 3531 04 76617279 0f 4163636570742d456e636f64696e67 0c 636f6e74656e742d74797065"
    "0a 746578742f706c61696e 00 33 48656c6c6f20576f726c6421204d7920636f6e74656e7420696e636c756465"
    "73206120747261696c696e672043524c462e0d0a 00 00"
)

HELLO = bhttp.Request(
    "GET",
    "https",
    "",
    "/hello.txt",
    (
        ("user-agent", "curl/7.16.3 libcurl/7.16.3 OpenSSL/0.9.7l zlib/1.2.3"),
        ("host", "www.example.com"),
        ("accept-language", "en, mi"),
    ),
)


def test_rfc9292_request_to_the_byte() -> None:
    assert HELLO.encode() == REQUEST
    assert bhttp.decode_request(REQUEST) == HELLO


def test_rfc9292_request_may_lose_its_empty_end() -> None:
    assert bhttp.decode_request(REQUEST[:-1]) == bhttp.decode_request(REQUEST[:-2]) == HELLO


def test_rfc9292_indeterminate_length_request_is_read() -> None:
    for cut in range(13):
        assert bhttp.decode_request(REQUEST_CHUNKED[: len(REQUEST_CHUNKED) - cut]) == HELLO


def test_rfc9292_response_to_the_byte() -> None:
    response = bhttp.Response(200, (), b"This content contains CRLF.\r\n", (("trailer", "text"),))
    assert response.encode() == RESPONSE
    assert bhttp.decode_response(RESPONSE) == response


def test_rfc9292_informational_responses_are_read() -> None:
    response = bhttp.decode_response(RESPONSE_CHUNKED)
    assert response.status == 200
    assert response.content == b"Hello World! My content includes a trailing CRLF.\r\n"
    assert response.header("etag") == '"34aa387-d-1568eb00"'
    assert [status for status, _ in response.informational] == [102, 103]
    assert response.informational[1][1][1] == (
        "link",
        "</script.js>; rel=preload; as=script",
    )
    assert bhttp.decode_response(response.encode()) == response


def test_the_content_of_a_request_is_not_copied() -> None:
    message = bhttp.Request("POST", "https", "x", "/", content=bytes(1000)).encode()
    content = bhttp.decode_request(message).content
    assert isinstance(content, memoryview)
    assert content.obj is message


TOKENS = st.text("abcdefghijklmnopqrstuvwxyz0123456789!#$%&'*+-.^_`|~", min_size=1, max_size=12)
VALUES = (
    st.text(
        st.characters(min_codepoint=0x20, max_codepoint=0xFF, exclude_characters="\x7f"),
        max_size=20,
    )
    .map(str.strip)
    .filter(lambda value: value == value.strip(" \t"))
)
FIELDS = st.lists(
    st.tuples(
        TOKENS.filter(
            lambda name: (
                name.encode() not in CONNECTION_FIELDS and name not in {"te", "content-length"}
            )
        ),
        VALUES,
    ),
    max_size=5,
).map(tuple)
PATHS = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), max_size=30).map("/".__add__)
BODIES = st.binary(max_size=300)


REQUESTS = st.builds(
    bhttp.Request,
    TOKENS.filter(lambda method: method != "CONNECT"),
    st.just("https"),
    st.just("gateway.example"),
    PATHS,
    FIELDS,
    BODIES,
    FIELDS,
)
RESPONSES = st.builds(bhttp.Response, st.integers(200, 599), FIELDS, BODIES, FIELDS)


@settings(max_examples=60, deadline=None)
@given(REQUESTS, st.integers(0, 2000))
def test_requests_survive_a_round_trip(request_: bhttp.Request, padded: int) -> None:
    message = request_.encode(padded_to=padded)
    assert len(message) >= padded
    assert bhttp.decode_request(message) == request_


@settings(max_examples=60, deadline=None)
@given(RESPONSES, st.integers(0, 2000))
def test_responses_survive_a_round_trip(response: bhttp.Response, padded: int) -> None:
    assert bhttp.decode_response(response.encode(padded_to=padded)) == response


@settings(max_examples=60, deadline=None)
@given(st.integers(0, varint.MAX_VALUE))
def test_integers_survive_a_round_trip(value: int) -> None:
    assert varint.Reader(varint.encode(value)).integer() == value


@pytest.mark.parametrize(
    ("encoded", "value"),
    [("c2197c5eff14e88c", 151_288_809_941_952_652), ("9d7f3e7d", 494_878_333), ("7bbd", 15_293),
     ("25", 37), ("4025", 37)],
)  # fmt: skip
def test_rfc9000_integers(encoded: str, value: int) -> None:
    assert varint.Reader(bytes.fromhex(encoded)).integer() == value


def build(*parts: bytes | int) -> bytes:
    """A message from integers (one byte each) and length-prefixed byte strings."""
    return b"".join(
        varint.encode(part) if isinstance(part, int) else varint.encode(len(part)) + part
        for part in parts
    )


def field(name: bytes, value: bytes) -> bytes:
    return build(name, value)


GET = (0, b"GET", b"https", b"x", b"/")


@pytest.mark.parametrize(
    "message",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"\x04", id="unknown framing"),
        pytest.param(RESPONSE, id="a response"),
        pytest.param(REQUEST[:40], id="cut in a field"),
        pytest.param(REQUEST_CHUNKED[:-13], id="cut before the terminator"),
        pytest.param(build(0, b"", b"https", b"x", b"/"), id="no method"),
        pytest.param(build(0, b"G T", b"https", b"x", b"/"), id="space in the method"),
        pytest.param(build(0, b"CONNECT", b"https", b"x", b"/"), id="CONNECT"),
        pytest.param(build(0, b"GET", b"", b"x", b"/"), id="no scheme"),
        pytest.param(build(0, b"GET", b"https", b"a b", b"/"), id="space in the authority"),
        pytest.param(build(0, b"GET", b"https", b"x", b""), id="no path"),
        pytest.param(build(0, b"GET", b"https", b"x", b"/\r\nx: y"), id="CRLF in the path"),
        pytest.param(build(*GET, field(b"A", b"b")), id="upper-case name"),
        pytest.param(build(*GET, field(b":path", b"/")), id="pseudo-field"),
        pytest.param(build(*GET, field(b"a b", b"c")), id="space in a name"),
        pytest.param(build(*GET, b"\x00\x01x"), id="empty name"),
        pytest.param(build(*GET, field(b"a", b"b\r\nc: d")), id="CRLF in a value"),
        pytest.param(build(*GET, field(b"a", b"b\0")), id="NUL in a value"),
        pytest.param(build(*GET, field(b"a", b" b")), id="leading space"),
        pytest.param(build(*GET, field(b"transfer-encoding", b"chunked")), id="connection field"),
        pytest.param(build(*GET, field(b"te", b"gzip")), id="TE"),
        pytest.param(build(*GET, field(b"content-length", b"3"), b"ab"), id="content-length"),
        pytest.param(build(*GET, b"", b"", b"") + b"\0\0\1", id="padding that is not zero"),
        pytest.param(build(*GET, b"", 1 << 40), id="content longer than the message"),
    ],
)
def test_invalid_requests_are_refused(message: bytes) -> None:
    with pytest.raises(BinaryHttpError):
        bhttp.decode_request(message)


@pytest.mark.parametrize("size", [1, 64 * 1024 - 1, 64 * 1024, 64 * 1024 + 1, 200_000])
def test_all_of_the_padding_must_be_zero(size: int) -> None:
    message = build(*GET, b"", b"", b"")
    padded = bytearray(message + bytes(size))
    bhttp.decode_request(padded)
    for at in {0, size // 2, size - 1}:
        padded[len(message) + at] = 1
        with pytest.raises(BinaryHttpError, match="padding"):
            bhttp.decode_request(padded)
        padded[len(message) + at] = 0


VALUE_BYTES = st.sampled_from([0, 9, 10, 13, 32, 11, 12, 65, 127, 128, 255])


@given(st.lists(VALUE_BYTES, max_size=6).map(bytes))
def test_a_value_has_no_line_ends_and_no_outer_white_space(value: bytes) -> None:
    allowed = value == value.strip(b" \t") and not set(value) & set(b"\0\r\n")
    with nullcontext() if allowed else pytest.raises(BinaryHttpError):
        check(b"name", value)


@pytest.mark.parametrize("status", [0, 99, 600, 1 << 30])
def test_invalid_status_codes_are_refused(status: int) -> None:
    with pytest.raises(BinaryHttpError):
        bhttp.decode_response(build(1, status))
    with pytest.raises(BinaryHttpError):
        bhttp.Response(status).encode()


@pytest.mark.parametrize(
    "message",
    [
        pytest.param(build(*GET, b"", b"c" * 11), id="content"),
        pytest.param(build(0, b"G" * 11, b"https", b"x", b"/"), id="target"),
        pytest.param(build(*GET, field(b"a", b"b" * 40)), id="section"),
        pytest.param(build(*GET, field(b"a", b"") * 3), id="lines"),
        pytest.param(build(2, *GET[1:], 0, b"cc", b"cc", b"cc", 0), id="chunks"),
        pytest.param(build(2, *GET[1:], 0, b"c" * 8, b"c" * 8, 0), id="content in chunks"),
    ],
)
def test_limits_hold(message: bytes) -> None:
    limits = bhttp.Limits(content=10, target=10, section=40, lines=2, informational=1, chunks=2)
    bhttp.decode_request(message)
    with pytest.raises(BinaryHttpError):
        bhttp.decode_request(message, limits)


def test_informational_responses_are_limited() -> None:
    message = build(1, 103, 0, 103, 0, 200)
    assert len(bhttp.decode_response(message).informational) == 2
    with pytest.raises(BinaryHttpError):
        bhttp.decode_response(message, bhttp.Limits(informational=1))


@pytest.mark.parametrize(
    "request_",
    [
        bhttp.Request("GET", "https", "x", "/\n"),
        bhttp.Request("GET", "https", "x", "/\u0142"),
        bhttp.Request("GET", "https", "x", "/", (("connection", "close"),)),
        bhttp.Request("GET", "https", "x", "/", (("a", "\u0142"),)),
        bhttp.Request("GET", "https", "x", "/", (("content-length", "1"),)),
    ],
)
def test_what_a_decoder_refuses_is_not_written(request_: bhttp.Request) -> None:
    with pytest.raises(BinaryHttpError):
        request_.encode()


def test_a_request_is_no_response_and_a_response_no_request() -> None:
    for message in (REQUEST, REQUEST_CHUNKED, b"\x04", b"\x05"):
        with pytest.raises(BinaryHttpError, match="this is not a response"):
            bhttp.decode_response(message)
    for message in (RESPONSE, RESPONSE_CHUNKED, b"\x04", b"\x05"):
        with pytest.raises(BinaryHttpError):
            bhttp.decode_request(message)


def test_the_default_limits() -> None:
    assert bhttp.Limits() == bhttp.Limits(
        content=33_554_432,
        target=8_192,
        section=16_384,
        lines=64,
        informational=4,
        chunks=16_384,
    )


@pytest.mark.parametrize("status", [100, 101, 198, 199])
def test_informational_status_codes_are_100_to_199(status: int) -> None:
    message = build(1, status, field(b"a", b"b"), 200)
    response = bhttp.decode_response(message)
    assert (response.status, response.informational) == (200, ((status, (("a", "b"),)),))
    assert bhttp.decode_response(response.encode()) == response
    with pytest.raises(BinaryHttpError):
        bhttp.decode_response(build(1, status))
    with pytest.raises(BinaryHttpError):
        bhttp.Response(status).encode()


@pytest.mark.parametrize("status", [0, 99, 200, 600])
def test_no_other_status_code_is_written_as_informational(status: int) -> None:
    with pytest.raises(BinaryHttpError, match="informational"):
        bhttp.Response(200, informational=((status, ()),)).encode()


@pytest.mark.parametrize(
    ("path", "allowed"),
    [(b"*", True), (b"/", True), (b"/a", True), (b"", False), (b"a", False), (b"**", False)],
)
def test_a_path_begins_with_a_slash_or_is_a_star(path: bytes, allowed: bool) -> None:
    with nullcontext() if allowed else pytest.raises(BinaryHttpError):
        bhttp.decode_request(build(0, b"OPTIONS", b"https", b"x", path, b"", b""))


def test_what_is_exactly_as_large_as_a_limit_is_read() -> None:
    limits = bhttp.Limits(content=10, target=10, section=40, lines=2, informational=1, chunks=2)
    for message in (
        build(*GET, b"", b"c" * 10),
        build(0, b"G" * 10, b"https", b"x", b"/"),
        build(*GET, field(b"a", b"") * 2),
        build(*GET, field(b"a", b"b" * 37)),
        build(2, *GET[1:], 0, b"c" * 5, b"c" * 5, 0),
    ):
        bhttp.decode_request(message, limits)
    bhttp.decode_response(build(1, 103, 0, 200), limits)
    assert [bhttp.decode_response(build(1, each)).status for each in (200, 599)] == [200, 599]


def test_the_values_of_a_repeated_field_are_joined_by_comma_and_space() -> None:
    repeated = (("accept", "a"), ("other", "b"), ("accept", "c, d"))
    assert find(repeated, "accept") == "a, c, d"
    assert find(repeated, "absent") is None
