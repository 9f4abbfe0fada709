"""HTTP/1.1 requests and answers as plain bytes, for a client that must cost nearly nothing."""

from __future__ import annotations

import re
import select
import socket
from dataclasses import dataclass, field
from typing import Final

_END: Final = b"\r\n\r\n"
_LENGTH: Final = b"\r\ncontent-length:"
_RETRY_AFTER: Final = re.compile(rb"\r\nretry-after: *(\d+)\r\n")


@dataclass(frozen=True, slots=True)
class Message:
    """One request: its head, and a body that several requests may share."""

    head: bytes
    body: bytes


def post(path: str, body: bytes, content_type: str, *, accept: str = "*/*") -> Message:
    """A `POST` to a server on this machine, over a connection that stays open."""
    head = (
        f"POST {path} HTTP/1.1\r\nhost: localhost\r\naccept: {accept}\r\n"
        f"content-type: {content_type}\r\ncontent-length: {len(body)}\r\n\r\n"
    )
    return Message(head.encode("ascii"), body)


class AnswerReader:
    """Takes one answer off the wire; only what such servers send is understood.

    Attributes:
        status: The status code, once the head is there.
        stays_open: Whether another request may follow on the connection.
        head: The answer's head in lower case, once it is there.
    """

    def __init__(self) -> None:
        self.status = 0
        self.stays_open = True
        self.head = b""
        self._data = bytearray()
        self._body_at = 0
        self._ends: int | None = None

    @property
    def retry_after(self) -> int:
        """Seconds of Retry-After; 1 where the answer has none."""
        found = _RETRY_AFTER.search(self.head)
        return int(found[1]) if found else 1

    def take(self, data: bytes) -> bytes | None:
        """Add what arrived; the body as soon as the answer is complete.

        Raises:
            ValueError: The answer has no Content-Length.
        """
        self._data += data
        if self._ends is None:
            at = self._data.find(_END)
            if at < 0:
                return None
            self.head = head = bytes(self._data[:at]).lower() + b"\r\n"
            self.status = int(head[9:12])
            self.stays_open = b"\r\nconnection: close" not in head
            start = head.find(_LENGTH)
            if start < 0:
                raise ValueError("an answer without a Content-Length")
            start += len(_LENGTH)
            self._body_at = at + len(_END)
            self._ends = self._body_at + int(head[start : head.index(b"\r\n", start)])
        if len(self._data) < self._ends:
            return None
        return bytes(self._data[self._body_at : self._ends])


@dataclass(slots=True, eq=False)
class Line:
    """One connection, watched for answers, and the request on it.

    Attributes:
        sock: The connection, which does not block.
        pieces: What is still to be sent.
        started: When the request began, on `time.perf_counter`.
        reader: Of its answer.
        waits_to_send: Whether it is watched for room as well.
    """

    sock: socket.socket
    pieces: list[memoryview] = field(default_factory=list)
    started: float = 0.0
    reader: AnswerReader = field(default_factory=AnswerReader)
    waits_to_send: bool = False

    def send(self, epoll: select.epoll) -> None:
        """Send as much as the connection takes now, and have it watched for room for the rest."""
        send_pieces(self.sock, self.pieces)
        waits = bool(self.pieces)
        if waits != self.waits_to_send:
            self.waits_to_send = waits
            epoll.modify(self.sock, select.EPOLLIN | (select.EPOLLOUT if waits else 0))


def send_pieces(sock: socket.socket, pieces: list[memoryview]) -> None:
    """Send as much as a non-blocking socket takes now; what is left stays in `pieces`."""
    try:
        while pieces:
            sent = sock.sendmsg(pieces)
            while pieces and sent >= len(pieces[0]):
                sent -= len(pieces.pop(0))
            if sent:
                pieces[0] = pieces[0][sent:]
    except BlockingIOError:
        return
    except OSError:
        # A refusal may be on its way even so; if not, receiving says that it broke.
        pieces.clear()
