"""One request and one response over a blocking socket, from a worker that may not keep to it."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import cbor2
import pytest

from blindgate.link import AnswerHeader, FrameError, LinkError, Operation, Outcome
from blindgate.link.blocking import RefusedByWorker, request, request_status
from blindgate.link.frames import MAX_STATUS, REQUEST_ID_BYTES

Pair = tuple[socket.socket, socket.socket]
ID = bytes(REQUEST_ID_BYTES)


@pytest.fixture
def pair() -> Iterator[Pair]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.settimeout(5)
        yield ours, theirs


def answer(worker: socket.socket, body: bytes, outcome: Outcome = Outcome.OK) -> None:
    """Answer before it is asked: the socket's buffer holds it."""
    worker.sendall(AnswerHeader(ID, outcome, len(body)).encode() + body)


def test_a_status_is_returned_as_a_map(pair: Pair) -> None:
    answer(pair[1], cbor2.dumps({"ready": True}))
    assert request_status(pair[0], deadline=1) == {"ready": True}


def test_a_response_without_a_body_is_empty(pair: Pair) -> None:
    answer(pair[1], b"")
    assert request(pair[0], Operation.DRAIN, deadline=1) == b""


def test_a_refusal_names_its_outcome(pair: Pair) -> None:
    answer(pair[1], b"", Outcome.OVERLOADED)
    with pytest.raises(RefusedByWorker) as refused:
        request_status(pair[0], deadline=1)
    assert refused.value.outcome is Outcome.OVERLOADED


@pytest.mark.parametrize("body", [b"\xff", cbor2.dumps([1]), cbor2.dumps({"a": 1}) + b"x"])
def test_a_status_that_is_no_map_is_refused(pair: Pair, body: bytes) -> None:
    answer(pair[1], body)
    with pytest.raises(FrameError):
        request_status(pair[0], deadline=1)


def nested(depth: int) -> dict[str, object]:
    """A map that nests so deep."""
    status: dict[str, object] = {"ready": True}
    for _ in range(depth - 1):
        status = {"more": status}
    return status


def test_a_status_nests_six_deep_and_not_seven(pair: Pair) -> None:
    answer(pair[1], cbor2.dumps(nested(6)))
    assert request_status(pair[0], deadline=1) == nested(6)
    answer(pair[1], cbor2.dumps(nested(7)))
    with pytest.raises(FrameError, match="cannot be read"):
        request_status(pair[0], deadline=1)


def test_a_body_over_the_limit_is_refused_before_it_is_received(pair: Pair) -> None:
    pair[1].sendall(AnswerHeader(ID, Outcome.OK, MAX_STATUS + 1).encode())
    with pytest.raises(LinkError):
        request_status(pair[0], deadline=1)


@pytest.mark.parametrize("sent", [0, 3, 20])
def test_a_connection_that_ends_is_an_error(pair: Pair, sent: int) -> None:
    body = cbor2.dumps({"ready": True})
    frame = AnswerHeader(ID, Outcome.OK, len(body)).encode() + body
    pair[1].sendall(frame[:sent])
    pair[1].shutdown(socket.SHUT_WR)
    with pytest.raises((LinkError, OSError)):
        request_status(pair[0], deadline=1)


def test_a_worker_that_says_nothing_ends_by_the_timeout(pair: Pair) -> None:
    pair[0].settimeout(0.1)
    with pytest.raises(TimeoutError):
        request_status(pair[0], deadline=1)
