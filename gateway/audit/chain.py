"""Lines that are chained by their hashes, and the search for a break in the chain. No files here.

A line is one JSON object that ends in `"prev":"…","hash":"…"}`. `prev` is the line before's
`hash`, and `hash` is the SHA-256 of the line's own bytes up to its `hash` member; with a key, the
HMAC-SHA256 (RFC 2104). So a line that is changed, removed, put in or moved breaks the chain at
that place, unless everything after it is written again: without a key anybody who can write the
file can do that, with one only they who have the key. A rewritten log, and lines that are cut off
the end, show against a head that was noted elsewhere (docs/deploy.md).
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from blindgate.errors import BlindgateError

#: What the first line of all names as the one before it.
GENESIS: Final = "0" * 64
_TAIL: Final = re.compile(
    rb'^(\{.*,"prev":"([0-9a-f]{64})"),"hash":"([0-9a-f]{64})"\}\n?$', re.DOTALL
)
#: A line has a few hundred bytes; sixteen envelopes in one request make it some 1,600.
MAX_LINE: Final = 16 * 1024


class BrokenChain(BlindgateError):
    """A log is not what was written.

    Attributes:
        line: Its number, from 1.
        what: What is wrong there.
    """

    def __init__(self, line: int, what: str) -> None:
        super().__init__(f"line {line}: {what}")
        self.line = line
        self.what = what


@dataclass(frozen=True, slots=True)
class Head:
    """Where a chain ends.

    Attributes:
        seq: Number of the last record; 0 before the first.
        hash: Its hash.
    """

    seq: int = 0
    hash: str = GENESIS

    def __str__(self) -> str:
        return f"{self.seq}:{self.hash}"

    @classmethod
    def parse(cls, text: str) -> Head:
        """Read what `str` gives.

        Raises:
            ValueError: It is something else.
        """
        match = re.fullmatch(r"([0-9]{1,18}):([0-9a-f]{64})", text, re.ASCII)
        if match is None:
            raise ValueError("a head is a number, a colon and 64 hexadecimal digits")
        return cls(int(match[1]), match[2])


def link(head: Head, record: Mapping[str, Any], key: bytes | None = None) -> tuple[bytes, Head]:
    """A record as the line that follows `head`, with its newline, and the head after it.

    Args:
        head: What it follows.
        record: Its members; without `seq`, `prev` and `hash`.
        key: For an HMAC in place of a plain hash.
    """
    body = {"seq": head.seq + 1, **record, "prev": head.hash}
    # ASCII only and no newline within: a line is a line for every tool.
    start = json.dumps(body, separators=(",", ":"), ensure_ascii=True).encode()[:-1]
    digest = _hash(start, key)
    return start + b',"hash":"' + digest.encode() + b'"}\n', Head(head.seq + 1, digest)


def _hash(data: bytes, key: bytes | None) -> str:
    if key is None:
        return hashlib.sha256(data).hexdigest()
    return hmac.digest(key, data, "sha256").hex()


def read(
    line: bytes, number: int = 1, key: bytes | None = None
) -> tuple[Head, Head, dict[str, Any]]:
    """One line by itself.

    Args:
        line: Its bytes; the newline must be there.
        number: For the error.
        key: What it was written with; None for a plain hash.

    Returns:
        The head that it follows, the head that it is, and its record.

    Raises:
        BrokenChain: It is not a line of an audit log, or was changed.
    """
    match = _TAIL.match(line)
    if match is None or not line.endswith(b"\n") or len(line) > MAX_LINE:
        raise BrokenChain(number, "this is not a whole line of an audit log")
    if not hmac.compare_digest(_hash(match[1], key).encode(), match[3]):
        raise BrokenChain(
            number,
            "its content does not have the hash that it names: changed, or written with "
            + ("another key or none" if key is not None else "a key"),
        )
    try:
        record: dict[str, Any] = json.loads(line)
    except (ValueError, RecursionError):
        raise BrokenChain(number, "this is not JSON") from None
    seq = record.get("seq")
    if type(seq) is not int or seq < 1:
        raise BrokenChain(number, "it has no number")
    return Head(seq - 1, match[2].decode()), Head(seq, match[3].decode()), record


def verify(
    lines: Iterable[bytes],
    *,
    after: Head | None = None,
    seen: Iterable[Head] = (),
    key: bytes | None = None,
) -> tuple[Head, int]:
    """Follow a chain through all lines.

    Args:
        lines: With their newlines.
        after: What the first line must follow: the end of the file before. Left out, the first
            line must be the first record of all.
        seen: Heads that were noted elsewhere, which the chain must pass through.
        key: What the lines were written with; None for plain hashes.

    Returns:
        The last head and how many lines there were.

    Raises:
        BrokenChain: At the first line that does not fit.
    """
    head = after or Head()
    noted = {each.seq: each.hash for each in seen if each.seq > head.seq}
    count = 0
    for count, line in enumerate(lines, 1):
        before, this, _ = read(line, count, key)
        if before != head:
            raise BrokenChain(count, _why(before, head))
        head = this
        if noted.pop(head.seq, head.hash) != head.hash:
            raise BrokenChain(count, f"record {head.seq} is not the one that was noted")
    if noted:
        raise BrokenChain(count, f"record {max(noted)} was noted, and the log ends at {head.seq}")
    return head, count


def _why(before: Head, expected: Head) -> str:
    if before.seq > expected.seq:
        return f"records {expected.seq + 1} to {before.seq} are missing before it"
    if before.seq < expected.seq:
        return f"it is record {before.seq + 1} and stands after record {expected.seq}"
    return f"it does not follow record {expected.seq}: changed or exchanged"
