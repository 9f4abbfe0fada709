"""The link for programs without an event loop: one request, one response (docs/link.md §5).

For the systemd unit that runs enclaves, and for `blindgate doctor`.
"""

from __future__ import annotations

import os
import socket
from typing import Any

from blindgate import strict_cbor
from blindgate.link.errors import FrameError, LinkError
from blindgate.link.frames import (
    MAX_STATUS,
    REQUEST_ID_BYTES,
    AnswerHeader,
    FrameLimits,
    FrameReader,
    Operation,
    Outcome,
    RequestHeader,
)


class RefusedByWorker(LinkError):
    """The worker's response to an operation is a problem.

    Attributes:
        outcome: Which one.
    """

    def __init__(self, operation: Operation, outcome: Outcome) -> None:
        super().__init__(f"{operation} was answered {outcome}")
        self.outcome = outcome


def request(
    sock: socket.socket, operation: Operation, *, deadline: float, max_bytes: int = MAX_STATUS
) -> bytes:
    """Send an operation without a body and receive the response's body.

    Args:
        sock: A connected socket, from `blindgate.link.dial.dial`; its timeout applies.
        operation: What is asked.
        deadline: Seconds that the worker is given.
        max_bytes: The longest body that is received.

    Raises:
        RefusedByWorker: The worker refuses.
        LinkError: The response is not one of this protocol.
        OSError: The connection fails or times out.
    """
    header = RequestHeader(operation, os.urandom(REQUEST_ID_BYTES), int(deadline * 1000))
    sock.sendall(header.encode())
    reader = FrameReader(AnswerHeader, FrameLimits(max_bytes))
    answered: AnswerHeader | None = None
    while True:
        event = reader.received(sock.recv_into(reader.buffer()))
        if isinstance(event, AnswerHeader):
            if event.outcome is not Outcome.OK:
                raise RefusedByWorker(operation, event.outcome)
            answered = event
        elif event is not None:
            return bytes(event)
        if answered is not None and not answered.body_length:
            return b""


def request_status(sock: socket.socket, *, deadline: float) -> dict[str, Any]:
    """The worker's status, as the map that it sends.

    Raises:
        As for `request`; FrameError if the body is not a map.
    """
    body = request(sock, Operation.STATUS, deadline=deadline)
    try:
        status = strict_cbor.decode(body, max_bytes=MAX_STATUS, max_depth=6)
    except strict_cbor.CborError as error:
        raise FrameError(f"the status cannot be read: {error}") from error
    if not isinstance(status, dict):
        raise FrameError("the status is not a map")
    return status
