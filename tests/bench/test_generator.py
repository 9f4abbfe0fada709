"""The load generator does what a patient client does."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from bench.load.generator import run
from bench.load.wire import AnswerReader, post
from bench.overload.arrivals import arrive

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
BUSY = b"HTTP/1.1 503 x\r\nretry-after: 1\r\ncontent-length: 0\r\n\r\n"
MESSAGE = post("/", b"photo", "image/jpeg")


@contextmanager
def answering(*answers: bytes, accepted: list[int] | None = None) -> Iterator[int]:
    """A server that gives these answers one after the other, whatever it is asked.

    It closes the connection after an empty one, and after one that says so.
    """
    left = iter(answers)
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                sock, _ = listener.accept()
            except OSError:
                return
            if accepted is not None:
                accepted.append(sock.fileno())
            threading.Thread(target=talk, args=(sock,), daemon=True).start()

    def talk(sock: socket.socket) -> None:
        with sock:
            while sock.recv(4096):
                answer = next(left)
                sock.sendall(answer)
                if not answer or b"connection: close" in answer:
                    return

    threading.Thread(target=serve, daemon=True).start()
    with listener:
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)


def test_a_refused_message_is_sent_again_when_the_answer_says() -> None:
    with answering(BUSY, OK, OK) as port:
        done = run(port, [MESSAGE, MESSAGE], 1, comes_back=True)
    assert [outcome.status for outcome in done.outcomes] == [503, 200, 200]
    assert sorted(outcome.number for outcome in done.outcomes) == [0, 0, 1]
    assert done.seconds >= 1


def test_a_refusal_may_be_the_end() -> None:
    busy = BUSY.replace(b"retry-after: 1", b"retry-after: 60")
    with answering(busy, OK) as port:
        done = run(port, [MESSAGE, MESSAGE], 1)
    assert [outcome.status for outcome in done.outcomes] == [503, 200]
    assert done.seconds < 30, "nobody waits for a message that is not sent again"


def test_clients_arrive_one_after_the_other() -> None:
    with answering(OK, OK, OK) as port:
        done = run(port, [MESSAGE] * 3, 3, arrival=0.3)
    assert len(done.outcomes) == 3
    assert done.seconds >= 0.2
    (last,) = (outcome for outcome in done.outcomes if outcome.number == 2)
    assert last.seconds <= done.seconds - 0.19, "its time begins with its own arrival"


def test_a_line_that_has_nothing_more_to_do_is_closed() -> None:
    closes = OK.replace(b"\r\n\r\n", b"\r\nx-then: connection: close\r\n\r\n")
    # While one message rests, the server closes the connection of the other one.
    with answering(closes, BUSY, OK) as port:
        done = run(port, [MESSAGE] * 2, 2, comes_back=True)
    assert sorted(outcome.status for outcome in done.outcomes) == [200, 200, 503]


@pytest.mark.parametrize(
    ("head", "seconds"), [(BUSY, 1), (BUSY.replace(b": 1", b": 30"), 30), (OK, 1)]
)
def test_retry_after_is_read(head: bytes, seconds: int) -> None:
    reader = AnswerReader()
    reader.take(head)
    assert reader.retry_after == seconds


def test_requests_arrive_at_their_rate_on_connections_that_are_open() -> None:
    accepted: list[int] = []
    with answering(*[OK] * 20, accepted=accepted) as port:
        answers = arrive(port, [MESSAGE], rate=40, seconds=0.5, patience=5)
    assert [answer.status for answer in answers] == [200] * 20
    assert 0.4 < answers[-1].at < 3
    assert len(accepted) < 10


def test_a_connection_that_was_closed_after_an_answer_is_not_used_again() -> None:
    # As a server does that has waited long enough for a next request: without saying so before.
    closing = OK.replace(b"\r\n\r\n", b"\r\nx-then: connection: close\r\n\r\n")
    accepted: list[int] = []
    with answering(*[closing] * 5, accepted=accepted) as port:
        answers = arrive(port, [MESSAGE], rate=20, seconds=0.25, patience=5)
    assert [answer.status for answer in answers] == [200] * 5
    assert len(accepted) == 5


def test_connections_that_break_and_answers_that_never_come_are_told_apart() -> None:
    with answering(b"") as port:
        (broken,) = arrive(port, [MESSAGE], rate=2, seconds=0.5, patience=5)
    with answering(OK[:-1]) as port:
        (silent,) = arrive(port, [MESSAGE], rate=2, seconds=0.5, patience=0.2)
    assert (broken.status, silent.status) == (0, -1)
