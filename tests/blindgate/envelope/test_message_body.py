"""Opening bodies: what the stock library and the specification write, and every way to spoil it."""

from __future__ import annotations

import gc
import os
import tracemalloc
from collections.abc import Callable

import pytest
from aws_encryption_sdk.identifiers import AlgorithmSuite
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given, settings
from hypothesis import strategies as st

from blindgate.envelope.algorithm_suites import DerivedKeys, Suite, derive_keys
from blindgate.envelope.message_body import Body, open_body, parse_body
from blindgate.envelope.message_errors import (
    MalformedMessage,
    MessageError,
    MessageNotAuthentic,
)
from blindgate.envelope.message_header import parse_header
from tests.blindgate.envelope import stock
from tests.blindgate.envelope.messages import KEY, SIGNED, UNSIGNED, Writer, field

CONTENT = os.urandom(70_000)


def opened(message: bytes | bytearray, key: bytes = KEY) -> bytes:
    memory = memoryview(bytearray(message))
    header = parse_header(memory)
    return bytes(open_body(memory, header, parse_body(memory, header), key))


def changed(message: bytes, at: int, flip: int = 1) -> bytes:
    return message[:at] + bytes([message[at] ^ flip]) + message[at + 1 :]


# What is opened ----------------------------------------------------------------------------------


@pytest.mark.parametrize("suite", [stock.UNSIGNED, stock.SIGNED])
@pytest.mark.parametrize("frame", [0, 128, 4096, 65_536, 2**20])
@pytest.mark.parametrize("size", [0, 1, 15, 16, 17, 127, 128, 129, 4095, 4096, 4097, 70_000])
def test_what_the_stock_library_writes_is_opened(
    suite: AlgorithmSuite, frame: int, size: int
) -> None:
    message = stock.encrypt(CONTENT[:size], frame=frame, suite=suite)
    assert opened(message) == CONTENT[:size]


@pytest.mark.parametrize("suite", [UNSIGNED, SIGNED])
@pytest.mark.parametrize("frame", [0, 1, 2, 15, 16, 17, 100, 2**28])
@pytest.mark.parametrize("size", [0, 1, 2, 15, 16, 17, 48, 100])
def test_what_the_specification_says_is_opened_by_both(suite: int, frame: int, size: int) -> None:
    message = Writer(suite=suite, frame=frame).write(CONTENT[:size])
    assert opened(message) == CONTENT[:size] == stock.decrypt(message)


def test_a_final_frame_may_be_empty() -> None:
    """Section "Final Frame": of a content of whole frames, the last may be a regular one."""
    writer = Writer(frame=4)
    message = writer.message(writer.regular(1, b"abcd"), writer.final(2, b""))
    assert opened(message) == b"abcd" == stock.decrypt(message)


@pytest.mark.parametrize("frame", [0, 128, 4096])
def test_it_is_opened_where_it_lies(frame: int) -> None:
    memory = bytearray(stock.encrypt(CONTENT, frame=frame))
    view = memoryview(memory)
    header = parse_header(view)
    content = open_body(view, header, parse_body(view, header), KEY)
    assert content.obj is memory
    assert content == CONTENT


def test_reading_the_structure_changes_nothing() -> None:
    memory = bytearray(stock.encrypt(CONTENT, suite=stock.SIGNED))
    before = bytes(memory)
    parse_body(memory, parse_header(memory))
    assert memory == before


@pytest.mark.parametrize("frame", [0, 4096])
@pytest.mark.parametrize("suite", [stock.UNSIGNED, stock.SIGNED])
def test_opening_takes_no_memory_of_the_messages_size(frame: int, suite: AlgorithmSuite) -> None:
    view = memoryview(bytearray(stock.encrypt(os.urandom(4_000_000), frame=frame, suite=suite)))
    gc.collect()
    tracemalloc.start()
    try:
        header = parse_header(view)
        open_body(view, header, parse_body(view, header), KEY)
        assert tracemalloc.get_traced_memory()[1] < 64 * 1024
    finally:
        tracemalloc.stop()


@settings(max_examples=60, deadline=None)
@given(
    content=st.binary(max_size=2000),
    blocks=st.integers(0, 17),
    context=st.dictionaries(st.text(max_size=9), st.text(max_size=9), max_size=3),
    signed=st.booleans(),
)
def test_every_message_of_the_stock_library_is_opened(
    content: bytes, blocks: int, context: dict[str, str], signed: bool
) -> None:
    context.pop("aws-crypto-public-key", None)
    suite = stock.SIGNED if signed else stock.UNSIGNED
    frame = blocks * stock.FRAME_UNIT
    message = stock.encrypt(content, frame=frame, suite=suite, context=context)
    assert opened(message) == content


# What is not -------------------------------------------------------------------------------------

SMALL = {
    "framed": Writer(frame=4).write(b"a small photo"),
    "framed and signed": Writer(frame=4, suite=SIGNED).write(b"a small photo"),
    "not framed": Writer(frame=0).write(b"a small photo"),
    "not framed, and signed": Writer(frame=0, suite=SIGNED).write(b"a small photo"),
    "empty": Writer().write(b""),
}
small = pytest.mark.parametrize("message", SMALL.values(), ids=SMALL.keys())


@small
def test_every_changed_byte_is_noticed(message: bytes) -> None:
    assert opened(message) in (b"a small photo", b"")
    for at in range(len(message)):
        for flip in (0x01, 0x80, 0xFF):
            with pytest.raises(MessageError):
                opened(changed(message, at, flip))


@small
def test_a_message_cut_short_anywhere_is_refused(message: bytes) -> None:
    for end in range(len(message)):
        with pytest.raises(MalformedMessage):
            opened(message[:end])


@small
@pytest.mark.parametrize("more", [b"\0", b"\xff" * 4, b"\0\0", bytes(1000)])
def test_bytes_behind_a_message_are_refused(message: bytes, more: bytes) -> None:
    with pytest.raises(MalformedMessage):
        opened(message + more)
    with pytest.raises(MalformedMessage):
        opened(message + message)


def two(*numbers: int, final: int) -> Callable[[Writer], tuple[bytes, ...]]:
    """Regular frames with these numbers, and then a final one; all of them authentic."""
    return lambda writer: (
        *(writer.regular(number, b"abcd") for number in numbers),
        writer.final(final, b"ef"),
    )


BODIES: dict[str, Callable[[Writer], tuple[bytes, ...]]] = {
    "nothing": lambda writer: (),
    "a number twice": two(1, 1, final=2),
    "a number twice, and counted": two(1, 1, final=3),
    "a number missing": two(1, 3, final=4),
    "no first frame": two(2, final=3),
    "numbered from zero": two(0, 1, final=2),
    "the wrong way round": two(2, 1, final=3),
    "a final frame with the number before": two(1, 2, final=2),
    "a final frame with the number after": two(1, 2, final=4),
    "a final frame in the middle": lambda writer: (
        writer.regular(1, b"abcd"),
        writer.final(2, b"ef"),
        writer.regular(3, b"abcd"),
        writer.final(4, b"ef"),
    ),
    "a final frame at the beginning": lambda writer: (
        writer.final(1, b"ef"),
        writer.regular(2, b"abcd"),
    ),
    "two final frames": lambda writer: (writer.final(1, b"ef"), writer.final(2, b"ef")),
    "no final frame": lambda writer: (writer.regular(1, b"abcd"), writer.regular(2, b"abcd")),
    "a final frame over the frame length": lambda writer: (writer.final(1, b"abcde"),),
    "a final frame that claims 2^32 - 1": lambda writer: (
        writer.final(1, b"ef").replace(b"\0\0\0\x02", b"\xff\xff\xff\xff"),
    ),
    "a short regular frame": lambda writer: (writer.regular(1, b"abc"), writer.final(2, b"ef")),
    "a long regular frame": lambda writer: (writer.regular(1, b"abcde"), writer.final(2, b"ef")),
    "a body without frames": lambda writer: (writer.block(b"abcd"),),
}


@pytest.mark.parametrize("suite", [UNSIGNED, SIGNED])
@pytest.mark.parametrize("parts", BODIES.values(), ids=BODIES.keys())
def test_frames_out_of_order_are_refused_without_a_key(
    suite: int, parts: Callable[[Writer], tuple[bytes, ...]]
) -> None:
    writer = Writer(suite=suite, frame=4)
    message = writer.message(*parts(writer))
    header = parse_header(message)
    with pytest.raises(MalformedMessage):
        parse_body(message, header)


@pytest.mark.parametrize("length", [b"\0" * 7 + b"\x0e", b"\xff" * 8, b"\0\0\0\x10" + b"\0" * 4])
def test_a_block_of_another_length_is_refused(length: bytes) -> None:
    writer = Writer(frame=0)
    block = writer.block(b"a small photo")
    message = writer.message(block[:12] + length + block[20:])
    with pytest.raises(MalformedMessage):
        parse_body(message, parse_header(message))


def test_a_part_of_another_kind_is_not_authentic() -> None:
    """A regular frame and a final one have different AADs, and so has a body without frames."""
    writer = Writer(frame=0)
    final = writer.final(1, b"abcd")
    with pytest.raises(MessageNotAuthentic, match="tag"):
        opened(writer.message(final[8:20] + (4).to_bytes(8, "big") + final[24:]))
    writer = Writer(frame=4)
    regular = writer.regular(1, b"abcd")
    with pytest.raises(MessageNotAuthentic, match="tag"):
        opened(writer.message(b"\xff" * 4 + regular[:16] + b"\0\0\0\x04" + regular[16:]))


def test_frames_of_another_message_are_not_authentic() -> None:
    """The message id is in the AAD of every frame and in the derivation of the key."""
    mine, other = Writer(frame=4), Writer(frame=4)
    other.message_id = bytes(32)
    frames = (other.regular(1, b"abcd"), other.final(2, b"ef"))
    with pytest.raises(MessageNotAuthentic, match="tag"):
        opened(mine.message(*frames))


@pytest.mark.parametrize("size", [0, 1, 16, 24, 31, 33, 48, 64])
def test_a_data_key_of_another_size_is_refused(size: int) -> None:
    with pytest.raises(MessageNotAuthentic, match="another length"):
        opened(SMALL["framed"], (KEY * 2)[:size])


@small
def test_another_data_key_is_refused_by_the_commitment(message: bytes) -> None:
    with pytest.raises(MessageNotAuthentic, match="commits to another data key"):
        opened(message, bytes(32))


def test_a_wrong_commitment_is_refused_although_all_tags_match() -> None:
    """Without key commitment, nothing else would notice."""
    writer = Writer(frame=4)
    body = writer.header[:-16]
    body = body[:-32] + bytes(32)
    writer.header = body + writer.cipher.encrypt(bytes(12), b"", body)
    with pytest.raises(MessageNotAuthentic, match="commits to another data key"):
        opened(writer.write(b"a small photo"))


@pytest.mark.parametrize("frame", [0, 4])
def test_a_signature_of_another_key_is_refused(frame: int) -> None:
    for curve in (ec.SECP384R1(), ec.SECP256R1(), ec.SECP521R1()):
        writer = Writer(suite=SIGNED, frame=frame)
        writer.signer = ec.generate_private_key(curve)
        with pytest.raises((MessageNotAuthentic, MalformedMessage)):
            opened(writer.write(b"a small photo"))


@pytest.mark.parametrize(
    "signature", [b"", b"0", b"\x30\x06\x02\x01\x00\x02\x01\x00", bytes(104), bytes(105)]
)
def test_a_footer_that_holds_no_signature_is_refused(signature: bytes) -> None:
    writer = Writer(suite=SIGNED)
    message = writer.header + writer.final(1, b"photo") + field(signature)
    with pytest.raises((MessageNotAuthentic, MalformedMessage)):
        opened(message)


def test_the_signature_is_over_the_whole_body() -> None:
    """Both messages have the same key, message id and signer; only a frame is another."""
    signer = ec.generate_private_key(ec.SECP384R1())
    one, other = (Writer(suite=SIGNED, frame=4, signer=signer) for _ in range(2))
    assert one.header == other.header
    signed, unsigned = one.write(b"a small photo"), other.write(b"a small phoxo")
    end = parse_body(signed, parse_header(signed)).end
    with pytest.raises(MessageNotAuthentic, match="signature"):
        opened(unsigned[:end] + signed[end:])


def test_memory_that_cannot_be_written_to_is_refused() -> None:
    message = SMALL["framed"]
    header = parse_header(message)
    with pytest.raises(ValueError, match="memory that can be written to"):
        open_body(memoryview(message), header, parse_body(message, header), KEY)


@settings(max_examples=200, deadline=None)
@given(
    message=st.sampled_from(list(SMALL.values())),
    edits=st.lists(
        st.tuples(st.integers(0, 10_000), st.integers(0, 3), st.binary(max_size=6)),
        min_size=1,
        max_size=4,
    ),
)
def test_whatever_is_changed_nothing_is_opened(
    message: bytes, edits: list[tuple[int, int, bytes]]
) -> None:
    spoiled = message
    for place, removed, put in edits:
        at = place % (len(spoiled) + 1)
        spoiled = spoiled[:at] + put + spoiled[at + removed :]
    if spoiled == message:
        assert opened(spoiled) is not None
        return
    with pytest.raises(MessageError):
        opened(spoiled)


def test_nothing_secret_is_shown() -> None:
    keys = derive_keys(Suite.COMMIT_KEY, KEY, bytes(32))
    assert repr(keys) == "DerivedKeys()"
    assert isinstance(keys, DerivedKeys)
    assert "signature" not in repr(Body(0, 0, 0, 0, 0, 0, b"signature"))
