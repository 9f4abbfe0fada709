"""The chain by itself: what is done to a log shows."""

from __future__ import annotations

import hashlib
import hmac
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.audit.chain import GENESIS, BrokenChain, Head, link, read, verify


def chain(count: int, head: Head | None = None, key: bytes | None = None) -> list[bytes]:
    head, lines = head or Head(), []
    for number in range(count):
        record = {"request_id": f"{number:032x}", "caller": 'an "odd"\u2028name\n'}
        line, head = link(head, record, key)
        lines.append(line)
    return lines


def test_a_log_as_it_was_written_is_unbroken() -> None:
    lines = chain(5)
    head, count = verify(lines)
    assert (head.seq, count) == (5, 5)
    assert all(line.count(b"\n") == 1 and line.isascii() for line in lines)
    record = json.loads(lines[0])
    assert (record["seq"], record["prev"]) == (1, GENESIS)
    assert Head.parse(str(head)) == head


def test_an_empty_log_is_unbroken() -> None:
    assert verify([]) == (Head(), 0)


@pytest.mark.parametrize("removed", range(4))
def test_a_removed_line_shows_where_it_was(removed: int) -> None:
    lines = chain(5)
    del lines[removed]
    with pytest.raises(BrokenChain, match="missing") as error:
        verify(lines)
    assert error.value.line == removed + 1


def test_lines_cut_off_the_end_show_against_a_noted_head() -> None:
    lines = chain(5)
    head, _ = verify(lines)
    assert verify(lines[:-1])[1] == 4
    with pytest.raises(BrokenChain, match="was noted, and the log ends at 4"):
        verify(lines[:-1], seen=[head])


def test_a_log_that_was_written_anew_shows_against_a_noted_head() -> None:
    head, _ = verify(chain(3))
    _, forged = link(Head(), {"other": True})
    lines = [link(Head(), {"other": True})[0], *chain(4, forged)]
    assert verify(lines)[1] == 5
    with pytest.raises(BrokenChain, match="not the one that was noted"):
        verify(lines, seen=[head])


@pytest.mark.parametrize(("one", "other"), [(0, 1), (1, 3), (3, 4)])
def test_exchanged_lines_show(one: int, other: int) -> None:
    lines = chain(5)
    lines[one], lines[other] = lines[other], lines[one]
    with pytest.raises(BrokenChain) as error:
        verify(lines)
    assert error.value.line == one + 1


def test_a_line_twice_shows() -> None:
    lines = chain(3)
    with pytest.raises(BrokenChain, match="it is record 2 and stands after record 2"):
        verify([*lines[:2], lines[1], lines[2]])


def test_a_line_of_another_log_shows() -> None:
    mine, other = chain(3), []
    head = Head()
    for _ in range(3):
        line, head = link(head, {"x": 1})
        other.append(line)
    with pytest.raises(BrokenChain, match="changed or exchanged"):
        verify([mine[0], other[1], mine[2]])


@settings(max_examples=300)
@given(data=st.data())
def test_any_changed_byte_shows(data: Any) -> None:
    lines = chain(3)
    number = data.draw(st.integers(0, 2))
    line = bytearray(lines[number])
    place = data.draw(st.integers(0, len(line) - 1))
    line[place] ^= data.draw(st.integers(1, 255))
    lines[number] = bytes(line)
    with pytest.raises(BrokenChain):
        verify(lines)


@given(st.binary(max_size=300))
def test_what_is_no_line_is_refused(data: bytes) -> None:
    with pytest.raises(BrokenChain):
        read(data)


def test_a_line_without_its_end_is_refused() -> None:
    (line,) = chain(1)
    with pytest.raises(BrokenChain, match="not a whole line"):
        read(line[:-1])


def test_files_follow_each_other() -> None:
    lines = chain(6)
    end, _ = verify(lines[:3])
    assert verify(lines[3:], after=end)[0].seq == 6
    with pytest.raises(BrokenChain):
        verify(lines[3:])
    with pytest.raises(BrokenChain):
        verify(lines[4:], after=end)


@pytest.mark.parametrize(
    "text", ["", "1", "1:xyz", f"-1:{GENESIS}", f"1:{GENESIS}\n", f"\u0661:{GENESIS}"]
)
def test_a_head_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="a head is"):
        Head.parse(text)


KEY = bytes(range(32))


def test_a_keyed_line_is_the_hmac_of_what_is_before_its_hash() -> None:
    (line,) = chain(1, key=KEY)
    start, _, end = line.rpartition(b',"hash":"')
    assert end[:64].decode() == hmac.new(KEY, start, "sha256").hexdigest()


def test_a_log_under_a_key_cannot_be_written_again_without_it() -> None:
    lines = chain(5, key=KEY)
    assert verify(lines, key=KEY)[1] == 5
    head = Head()
    forged = []
    for line in lines[:3]:
        record = {"request_id": json.loads(line)["request_id"], "caller": "somebody else"}
        again, head = link(head, record)
        forged.append(again)
    assert verify(forged)[1] == 3, "without a key this is a log like any other"
    with pytest.raises(BrokenChain, match="another key or none"):
        verify(forged, key=KEY)
    # From the middle, too.
    with pytest.raises(BrokenChain) as error:
        verify([*lines[:2], *chain(3, verify(lines[:2], key=KEY)[0])], key=KEY)
    assert error.value.line == 3


@pytest.mark.parametrize("key", [None, bytes(32), KEY + b"x"])
def test_a_log_under_a_key_is_verified_with_that_key_alone(key: bytes | None) -> None:
    with pytest.raises(BrokenChain, match="key"):
        verify(chain(2, key=KEY), key=key)


@settings(max_examples=100)
@given(data=st.data())
def test_any_changed_byte_shows_under_a_key(data: Any) -> None:
    lines = chain(2, key=KEY)
    line = bytearray(lines[1])
    line[data.draw(st.integers(0, len(line) - 1))] ^= data.draw(st.integers(1, 255))
    with pytest.raises(BrokenChain):
        verify([lines[0], bytes(line)], key=KEY)


def forged(body: bytes) -> bytes:
    """A line with the right hash around any bytes, as anybody can make one."""
    start = body + b',"prev":"' + GENESIS.encode() + b'"'
    return start + b',"hash":"' + hashlib.sha256(start).hexdigest().encode() + b'"}\n'


@pytest.mark.parametrize(
    "body", [b"{what is this", b'{"seq":1,"a":\xff', b'{"seq":1,"a":' + b"[" * 9000]
)
def test_a_line_with_the_right_hash_that_is_no_json_is_broken(body: bytes) -> None:
    with pytest.raises(BrokenChain, match="not JSON"):
        read(forged(body))


@pytest.mark.parametrize("seq", [b"0", b"-1", b"true", b"1.0", b'"1"', b"null"])
def test_records_are_numbered_from_one(seq: bytes) -> None:
    with pytest.raises(BrokenChain, match="no number"):
        read(forged(b'{"seq":' + seq))
    assert read(forged(b'{"seq":1'))[:2] == (Head(), Head(1, read(forged(b'{"seq":1'))[1].hash))


def test_a_line_has_at_most_16_kib() -> None:
    empty = len(link(Head(), {"a": ""})[0])
    line, head = link(Head(), {"a": "x" * (16_384 - empty)})
    assert len(line) == 16_384
    assert read(line)[1] == head
    with pytest.raises(BrokenChain, match="not a whole line"):
        read(link(Head(), {"a": "x" * (16_385 - empty)})[0])


def test_a_noted_head_from_before_the_first_file_is_passed_over() -> None:
    lines = chain(6)
    third, _ = verify(lines[:3])
    second, _ = verify(lines[:2])
    assert verify(lines[3:], after=third, seen=[second, third])[1] == 3
    with pytest.raises(BrokenChain, match="record 3 was noted, and the log ends at 2"):
        verify(lines[:2], seen=[third])
