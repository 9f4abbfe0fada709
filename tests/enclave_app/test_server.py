"""The sockets of the worker, driven over real Unix sockets."""

from __future__ import annotations

import errno
import os
import signal
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cbor2
import pytest

from blindgate.link import (
    AnswerHeader,
    FrameLimits,
    FrameReader,
    Operation,
    Outcome,
    RequestHeader,
    UnixAddress,
)
from blindgate.link.dial import dial, listen
from enclave_app import limits
from enclave_app.link_server.buffer_pool import BodyMemory
from enclave_app.link_server.server import (
    Answer,
    LinkServer,
    Request,
    _Connection,
    _give_up_after,
    _most_at_once,
)
from enclave_app.scheduling.memory_budget import MemoryBudget

ID = bytes(16)


class Client:
    """One connection of a gateway."""

    def __init__(self, path: Path) -> None:
        self.sock = dial(UnixAddress(str(path)), 5)
        self.sock.settimeout(10)
        self._reader = FrameReader(AnswerHeader, FrameLimits(body=10_000_000))

    def ask(self, body: bytes = b"", *, request_id: bytes = ID, ms: int = 10_000) -> Any:
        header = RequestHeader(Operation.DETECT, request_id, ms, len(body))
        self.sock.sendall(header.encode() + body)
        return self.answer()

    def answer(self) -> tuple[AnswerHeader, bytes]:
        header = None
        while True:
            event = self._reader.received(self.sock.recv_into(self._reader.buffer()))
            if isinstance(event, AnswerHeader):
                header = event
                if not header.body_length:
                    return header, b""
            elif event is not None:
                assert header is not None
                return header, bytes(event)

    def is_closed(self) -> bool:
        try:
            return self.sock.recv(1) == b""
        except ConnectionResetError:
            return True


@contextmanager
def serving(
    path: Path,
    handle: Callable[[Request], Answer],
    *,
    memory: int = 2_000_000,
    most: int = 4,
    listener: Any = None,
) -> Iterator[LinkServer]:
    server = LinkServer(
        listener or listen(UnixAddress(str(path))),
        handle,
        body_bytes=1_000_000,
        uploads=MemoryBudget(memory),
        connections=most,
    )
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server
    finally:
        server.close()
        thread.join()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "s"


def eventually(holds: Callable[[], bool]) -> None:
    """Wait until something holds that another thread brings about; fail if it never does."""
    ends = time.monotonic() + 10
    while not holds():
        assert time.monotonic() < ends, "it did not come about within 10 s"
        time.sleep(0.002)


def echo(request: Request) -> Answer:
    return Answer(Outcome.OK, bytes(request.body)[::-1], {"n": len(request.body)})


def test_requests_on_one_connection_are_answered_in_their_order(path: Path) -> None:
    with serving(path, echo):
        client = Client(path)
        with client.sock:
            for number in range(3):
                request_id = bytes([number]) * 16
                header, body = client.ask(b"abc" * number, request_id=request_id)
                assert header.request_id == request_id
                assert header.outcome is Outcome.OK
                assert header.params == {"n": 3 * number}
                assert body == b"cba" * number


def test_a_large_answer_arrives_whole(path: Path) -> None:
    answer = bytes(range(256)) * 4096
    with serving(path, lambda _: Answer(Outcome.OK, answer)):
        client = Client(path)
        with client.sock:
            assert client.ask()[1] == answer


def test_an_error_of_ours_says_nothing_and_ends_nothing(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(request: Request) -> Answer:
        raise ValueError(f"secret {bytes(request.body)!r}")

    with serving(path, fail):
        client = Client(path)
        with client.sock:
            for _ in range(2):
                header, body = client.ask(b"plaintext")
                assert (header.outcome, body) == (Outcome.INTERNAL_ERROR, b"")
    assert "ValueError" in caplog.text
    assert "plaintext" not in caplog.text


@pytest.mark.parametrize("wire", [b"\0\0\0\0", b"\xff" * 64, b"\0\0\0\x01\xa0"])
def test_what_is_no_frame_closes_the_connection_and_no_other(path: Path, wire: bytes) -> None:
    with serving(path, echo):
        good, bad = Client(path), Client(path)
        with good.sock, bad.sock:
            bad.sock.sendall(wire)
            assert bad.is_closed()
            assert good.ask(b"x")[1] == b"x"


def test_a_body_over_the_limit_is_refused_unread(path: Path) -> None:
    request_id = os.urandom(16)
    with serving(path, echo):
        client = Client(path)
        with client.sock:
            header = RequestHeader(Operation.DETECT, request_id, 1000, 1_000_001)
            client.sock.sendall(header.encode())
            answer, body = client.answer()
            assert (answer.request_id, answer.outcome) == (request_id, Outcome.BODY_TOO_LARGE)
            assert body == b""
            assert client.is_closed()


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"op": "detect-video"}, id="an operation of a newer gateway"),
        pytest.param({"op": ["detect"]}, id="an operation that is no text"),
        pytest.param({"ms": 600_001}, id="a deadline over the limit"),
        pytest.param({"len": -1}, id="a negative length"),
        pytest.param({"len": 2**32}, id="a length over 32 bits"),
        pytest.param({"p": {"classes": [1]}}, id="a parameter of another type"),
        pytest.param({"p": {"nested": {"a": 1}}}, id="a nested parameter"),
        pytest.param({"caller": b"short"}, id="a caller of another length"),
    ],
)
def test_a_header_with_a_readable_id_is_refused_by_a_response(
    path: Path, changes: dict[str, Any]
) -> None:
    request_id = os.urandom(16)
    fields = {"v": 1, "id": request_id, "op": "detect", "ms": 1000, "len": 0, "p": {}, **changes}
    header = cbor2.dumps(fields)
    with serving(path, echo):
        good, bad = Client(path), Client(path)
        with good.sock, bad.sock:
            bad.sock.sendall(struct.pack(">I", len(header)) + header)
            answer, body = bad.answer()
            assert (answer.request_id, answer.outcome) == (request_id, Outcome.INVALID_REQUEST)
            assert body == b""
            assert bad.is_closed()
            assert good.ask(b"x")[1] == b"x"


@pytest.mark.parametrize(
    "changes", [{"v": 2}, {"id": b"short"}, {"more": 1}, {"id": 7}, {"caller": None, "x": 0}]
)
def test_a_header_whose_id_cannot_be_known_closes_the_connection(
    path: Path, changes: dict[str, Any]
) -> None:
    fields = {"v": 1, "id": ID, "op": "detect", "ms": 1000, "len": 0, "p": {}, **changes}
    header = cbor2.dumps(fields)
    with serving(path, echo):
        client = Client(path)
        with client.sock:
            client.sock.sendall(struct.pack(">I", len(header)) + header)
            assert client.is_closed()


def test_a_body_that_finds_no_memory_in_time_is_refused(path: Path) -> None:
    with serving(path, echo, memory=10):
        client = Client(path)
        with client.sock:
            client.sock.sendall(RequestHeader(Operation.DETECT, ID, 1000, 11).encode())
            assert client.answer()[0].outcome is Outcome.OVERLOADED
            assert client.is_closed()


def test_connections_over_the_limit_are_closed_at_once(path: Path) -> None:
    with serving(path, echo, most=1):
        first = Client(path)
        with first.sock:
            assert first.ask(b"x")[1] == b"x"
            second = Client(path)
            with second.sock:
                assert second.is_closed()
            assert first.ask(b"y")[1] == b"y"


class UnreliableListener:
    """A listener whose first calls of `accept` fail."""

    def __init__(self, real: socket.socket, errors: Iterable[int]) -> None:
        self._real = real
        self._errors = list(errors)

    def accept(self) -> Any:
        if self._errors:
            number = self._errors.pop(0)
            raise OSError(number, os.strerror(number))
        return self._real.accept()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)


@pytest.mark.parametrize(
    "errors",
    [
        [errno.EMFILE],
        [errno.ENFILE, errno.ENFILE],
        [errno.ENOMEM],
        [errno.ENOBUFS],
        [errno.ECONNABORTED] * 5,
        [errno.EPROTO],
        [errno.EPERM],
    ],
)
def test_an_accept_that_fails_for_a_moment_ends_nothing(
    path: Path, monkeypatch: pytest.MonkeyPatch, errors: list[int]
) -> None:
    monkeypatch.setattr(limits, "ACCEPT_PAUSE_SECONDS", 0.01)
    real = listen(UnixAddress(str(path)))
    with serving(path, echo, listener=UnreliableListener(real, errors)):
        client = Client(path)
        with client.sock:
            assert client.ask(b"x")[1] == b"x"


@pytest.mark.parametrize("number", [errno.EBADF, errno.EINVAL, errno.ENOTSOCK])
def test_a_listener_that_is_of_no_more_use_is_said(path: Path, number: int) -> None:
    real = listen(UnixAddress(str(path)))
    with real:
        listener: Any = UnreliableListener(real, [number])
        server = LinkServer(listener, echo, body_bytes=1, uploads=MemoryBudget(1), connections=1)
        with pytest.raises(OSError, match=os.strerror(number)) as failed:
            server.serve_forever()
        assert failed.value.errno == number


@pytest.mark.parametrize("error", [RuntimeError("can't start new thread"), MemoryError()])
def test_a_connection_that_no_thread_serves_is_closed_and_not_counted(
    path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    monkeypatch.setattr(limits, "ACCEPT_PAUSE_SECONDS", 0.01)
    failures = [error, error]

    class Scarce(threading.Thread):
        def start(self) -> None:
            if self.name == "connection" and failures:
                raise failures.pop()
            super().start()

    monkeypatch.setattr(threading, "Thread", Scarce)
    with serving(path, echo, most=1) as server:
        for _ in range(2):
            unserved = Client(path)
            with unserved.sock:
                assert unserved.is_closed()
        assert "0 connections" in repr(server)
        client = Client(path)
        with client.sock:
            assert client.ask(b"x")[1] == b"x"


def test_a_body_that_no_memory_can_be_had_for_is_refused(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_memory(memory: BodyMemory, count: int) -> Any:
        raise MemoryError

    with serving(path, echo) as server:
        monkeypatch.setattr(BodyMemory, "lease", no_memory)
        client = Client(path)
        with client.sock:
            client.sock.sendall(RequestHeader(Operation.DETECT, ID, 1000, 11).encode())
            assert client.answer()[0].outcome is Outcome.OVERLOADED
            assert client.is_closed()
        assert server.wait_until_idle(10)


def test_a_body_counts_with_what_is_opened_from_it(path: Path) -> None:
    """While an envelope is opened, it and its content are in memory."""
    with serving(path, echo, memory=100):
        for length, outcome in ((50, Outcome.OK), (51, Outcome.OVERLOADED)):
            client = Client(path)
            with client.sock:
                assert client.ask(bytes(length))[0].outcome is outcome


def test_a_client_that_left_is_seen(path: Path) -> None:
    seen: list[bool] = []
    arrived, left, done = threading.Event(), threading.Event(), threading.Event()

    def watch(request: Request) -> Answer:
        seen.append(request.wanted())
        arrived.set()
        assert left.wait(10)
        seen.append(request.wanted())
        done.set()
        return Answer(Outcome.OK)

    with serving(path, watch):
        client = Client(path)
        client.sock.sendall(RequestHeader(Operation.DETECT, ID, 1000).encode())
        assert arrived.wait(10)
        client.sock.close()
        left.set()
        assert done.wait(10)
    assert seen == [True, False]


def test_a_client_that_cuts_a_frame_off_leaves_nothing_behind(path: Path) -> None:
    with serving(path, echo) as server:
        client = Client(path)
        client.sock.sendall(RequestHeader(Operation.DETECT, ID, 1000, 100).encode() + b"half")
        client.sock.close()
        assert server.wait_until_idle(10)
        other = Client(path)
        with other.sock:
            assert other.ask(b"x")[1] == b"x"


def test_a_client_that_closes_between_requests_is_no_fault(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "blindgate.worker")
    with serving(path, echo) as server:
        client = Client(path)
        with client.sock:
            assert client.ask(b"x")[1] == b"x"
        eventually(lambda: "0 connections" in repr(server))
    assert caplog.text == ""


def test_a_client_that_cuts_a_frame_off_is_noted(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with serving(path, echo) as server:
        client = Client(path)
        client.sock.sendall(RequestHeader(Operation.DETECT, ID, 1000, 100).encode()[:-1])
        client.sock.close()
        eventually(lambda: "0 connections" in repr(server) and caplog.text != "")
    assert "ended inside a frame" in caplog.text


def test_a_connection_that_was_reset_is_not_wanted() -> None:
    ours, theirs = socket.socketpair()
    with ours:
        connection = _Connection(ours, FrameLimits(body=1))
        assert connection.is_open()
        ours.sendall(b"not read")
        theirs.close()
        assert not connection.is_open()


def test_a_client_that_half_closes_gets_its_answer(path: Path) -> None:
    """A shut-down sending side says that no request follows; it is also how leaving looks."""
    wanted: list[bool] = []

    def handle(request: Request) -> Answer:
        eventually(lambda: not request.wanted())
        wanted.append(request.wanted())
        return echo(request)

    with serving(path, handle):
        client = Client(path)
        with client.sock:
            client.sock.sendall(RequestHeader(Operation.DETECT, ID, 10_000, 3).encode() + b"abc")
            client.sock.shutdown(socket.SHUT_WR)
            assert client.answer()[1] == b"cba"
            assert client.is_closed()
    assert wanted == [False]


@pytest.mark.parametrize("sent", [2, 10, -1])
def test_a_half_close_inside_a_frame_ends_the_connection(path: Path, sent: int) -> None:
    with serving(path, echo) as server:
        client = Client(path)
        with client.sock:
            frame = RequestHeader(Operation.DETECT, ID, 10_000, 3).encode() + b"abc"
            client.sock.sendall(frame[:sent])
            client.sock.shutdown(socket.SHUT_WR)
            assert client.is_closed()
        assert server.wait_until_idle(10)


def test_signals_interrupt_no_frame(path: Path) -> None:
    """Each one ends a blocking call of the connection's thread with EINTR."""
    before = signal.signal(signal.SIGUSR1, lambda *_: None)
    try:
        with serving(path, echo):
            client = Client(path)
            with client.sock:
                assert client.ask(b"x")[1] == b"x"
                (thread,) = (each for each in threading.enumerate() if each.name == "connection")
                assert thread.ident is not None
                frame = RequestHeader(Operation.DETECT, ID, 10_000, 3000).encode() + bytes(3000)
                for start in range(0, len(frame), 500):
                    signal.pthread_kill(thread.ident, signal.SIGUSR1)
                    client.sock.sendall(frame[start : start + 500])
                    time.sleep(0.01)
                    signal.pthread_kill(thread.ident, signal.SIGUSR1)
                assert client.answer()[1] == bytes(3000)
                # The thread answers once more, so no signal is pending when the handler goes.
                assert client.ask(b"y")[1] == b"y"
    finally:
        signal.signal(signal.SIGUSR1, before)


def test_idle_means_that_no_request_is_in_hand(path: Path) -> None:
    entered, release = threading.Event(), threading.Event()

    def slow(_: Request) -> Answer:
        entered.set()
        assert release.wait(10)
        return Answer(Outcome.OK)

    with serving(path, slow) as server:
        client = Client(path)
        with client.sock:
            client.sock.sendall(RequestHeader(Operation.DETECT, ID, 1000).encode())
            assert entered.wait(10)
            assert not server.wait_until_idle(0.01)
            release.set()
            assert client.answer()[0].outcome is Outcome.OK
            assert server.wait_until_idle(10)


def test_closing_ends_connections_that_wait(path: Path) -> None:
    with serving(path, echo):
        client = Client(path)
        client.ask(b"x")
    with client.sock:
        assert client.is_closed()


def test_a_body_that_stalls_ends_its_connection(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "STALL_SECONDS", 0.05)
    with serving(path, echo) as server:
        client = Client(path)
        with client.sock:
            client.sock.sendall(RequestHeader(Operation.DETECT, ID, 1000, 100).encode() + b"half")
            assert client.is_closed()
        assert server.wait_until_idle(10)


@pytest.mark.parametrize("cut", [1, 4, 20])
def test_a_header_that_stalls_ends_its_connection(
    path: Path, monkeypatch: pytest.MonkeyPatch, cut: int
) -> None:
    monkeypatch.setattr(limits, "STALL_SECONDS", 0.05)
    with serving(path, echo) as server:
        client = Client(path)
        with client.sock:
            client.sock.sendall(RequestHeader(Operation.DETECT, ID, 1000).encode()[:cut])
            assert client.is_closed()
        assert server.wait_until_idle(10)


def test_a_wait_that_times_out_keeps_what_came(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """MSG_WAITALL gives back a part of the body when its time is up; the rest is still read."""
    monkeypatch.setattr(limits, "STALL_SECONDS", 0.05)
    kept = threading.Event()

    def received(reader: FrameReader[RequestHeader], count: int) -> Any:
        event = original(reader, count)
        if reader._filled == len(b"half"):
            client.sock.sendall(b"more")
            kept.set()
        return event

    original = FrameReader.received
    with serving(path, echo):
        client = Client(path)
        with client.sock:
            monkeypatch.setattr(FrameReader, "received", received)
            client.sock.sendall(RequestHeader(Operation.DETECT, ID, 10_000, 8).encode() + b"half")
            assert client.answer()[1] == b"halfmore"[::-1]
    assert kept.is_set()


@pytest.mark.parametrize("taken", [0, 1, 30, 10_000, 300_000])
def test_whatever_the_first_write_takes_the_rest_follows(taken: int) -> None:
    """The kernel may take less than it is given, even less than the header."""
    written = bytearray()

    class Reluctant:
        family = socket.AF_UNIX

        def fileno(self) -> int:
            return real.fileno()

        def sendmsg(self, pieces: Iterable[bytes | memoryview]) -> int:
            joined = b"".join(pieces)
            written.extend(joined[:taken])
            return len(joined[:taken])

        def sendall(self, piece: bytes | memoryview) -> None:
            assert len(piece) <= limits.WRITE_BYTES
            written.extend(piece)

    body = os.urandom(600_000)
    real, other = socket.socketpair()
    with real, other:
        connection = _Connection(Reluctant(), FrameLimits(body=1))  # type: ignore[arg-type]
        connection.send(ID, Answer(Outcome.OK, body))
    head = AnswerHeader(ID, Outcome.OK, len(body)).encode()
    assert written == head + body


def test_a_reader_that_stalls_ends_its_connection(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "STALL_SECONDS", 0.05)
    entered = threading.Event()

    def large(_: Request) -> Answer:
        entered.set()
        return Answer(Outcome.OK, bytes(5_000_000))

    with serving(path, large) as server:
        client = Client(path)
        with client.sock:
            client.sock.sendall(RequestHeader(Operation.DETECT, ID, 1000).encode())
            assert entered.wait(10)
            assert server.wait_until_idle(10)
            eventually(lambda: "0 connections" in repr(server))


def test_a_request_is_in_hand_until_its_answer_has_left(path: Path) -> None:
    entered, let_go = threading.Event(), threading.Event()

    def handle(request: Request) -> Answer:
        if bytes(request.body) == b"slow":
            entered.set()
            assert let_go.wait(10)
        return Answer(Outcome.OK, params={"others": request.others()})

    with serving(path, handle):
        slow, quick = Client(path), Client(path)
        with slow.sock, quick.sock:
            header = RequestHeader(Operation.DETECT, ID, 10_000, 4)
            slow.sock.sendall(header.encode() + b"slow")
            assert entered.wait(10)
            assert quick.ask()[0].params == {"others": 1}
            let_go.set()
            slow.answer()
            eventually(lambda: bool(quick.ask()[0].params == {"others": 0}))


def test_an_idle_connection_may_stay(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "STALL_SECONDS", 0.05)
    with serving(path, echo):
        client = Client(path)
        with client.sock:
            assert client.ask(b"x")[1] == b"x"
            time.sleep(0.2)
            assert client.ask(b"y")[1] == b"y"


def test_the_memory_of_a_released_body_serves_the_next_one(path: Path) -> None:
    def opens(request: Request) -> Answer:
        found = bytes(request.body)
        request.release()
        with pytest.raises(ValueError, match="released"):
            bytes(request.body)
        request.release()
        return Answer(Outcome.OK, found)

    with serving(path, opens) as server:
        client = Client(path)
        with client.sock:
            assert client.ask(b"opened")[1] == b"opened"
            assert client.ask(b"once more")[1] == b"once more"
        assert repr(server._memory) == f"<BodyMemory 4096 of {limits.KEPT_BODY_BYTES} bytes free>"


def test_who_keeps_a_view_of_a_body_never_sees_another_one(path: Path) -> None:
    kept: list[memoryview] = []

    def keeps(request: Request) -> Answer:
        kept.append(memoryview(request.body)[:])
        return Answer(Outcome.OK)

    with serving(path, keeps):
        client = Client(path)
        with client.sock:
            for number in range(3):
                client.ask(bytes([number]) * 5000)
    assert [bytes(view) for view in kept] == [bytes([number]) * 5000 for number in range(3)]


@pytest.mark.skipif(not hasattr(socket, "AF_VSOCK"), reason="this system has no AF_VSOCK")
def test_a_vsock_connection_waits_for_no_more_than_its_queue_holds() -> None:
    """Linux refuses to wait for more than 256 KiB there, with ENOMEM."""
    for family, most in ((socket.AF_VSOCK, 131_072), (socket.AF_UNIX, None)):
        connection: Any = SimpleNamespace(family=family)
        assert _most_at_once(connection) == most


@pytest.mark.skipif(not hasattr(socket, "AF_VSOCK"), reason="this system has no AF_VSOCK")
def test_a_vsock_connection_gets_its_time_limit_too() -> None:
    """Python's setsockopt knows no structures for AF_VSOCK."""
    try:
        connection = socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM)
    except OSError as error:
        pytest.skip(f"this kernel has no AF_VSOCK: {error.strerror}")
    with connection:
        _give_up_after(connection, 1.5)
        same = os.dup(connection.fileno())
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM, fileno=same) as plain:
            for option in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
                found = plain.getsockopt(socket.SOL_SOCKET, option, 16)
                seconds, microseconds = struct.unpack("@ll", found)
                assert seconds + microseconds / 1e6 == pytest.approx(1.5, abs=0.02)
