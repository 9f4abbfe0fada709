"""The connection on real sockets, with asyncio's loop and with uvloop's."""

from __future__ import annotations

import asyncio
import itertools
import socket
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
import uvloop
from hypothesis import given, settings
from hypothesis import strategies as st

from blindgate.link import (
    AnswerHeader,
    DialError,
    FrameLimits,
    FrameReader,
    Operation,
    Outcome,
    RequestHeader,
    VsockAddress,
)
from blindgate.link.dial import connect_in_loop, open_socket
from gateway.pool.errors import StreamLost
from gateway.pool.stream import MAX_WRITE, MIN_WRITE, SocketStream, pieces

LIMITS = FrameLimits(body=10_000_000)
ID = bytes(16)

Case = Callable[[SocketStream, socket.socket, list[int]], Coroutine[Any, Any, None]]


def run_in(loop: str, main: Coroutine[Any, Any, None]) -> None:
    factory = uvloop.new_event_loop if loop == "uvloop" else asyncio.new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(main)


def run(case: Case, *, loop: str) -> None:
    async def main() -> None:
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        theirs.setblocking(False)
        lost: list[int] = []
        stream = SocketStream(ours, LIMITS, lambda: lost.append(1))
        try:
            async with asyncio.timeout(10):
                await case(stream, theirs, lost)
        finally:
            stream.close()
            theirs.close()

    run_in(loop, main())


both = pytest.mark.parametrize("loop", ["asyncio", "uvloop"])


def request(length: int) -> RequestHeader:
    return RequestHeader(Operation.DETECT, ID, 1000, length)


async def read_request(sock: socket.socket) -> tuple[RequestHeader, bytes]:
    loop = asyncio.get_running_loop()
    reader = FrameReader(RequestHeader, LIMITS)
    header: RequestHeader | None = None
    while True:
        event = reader.received(await loop.sock_recv_into(sock, reader.buffer()))
        if isinstance(event, RequestHeader):
            header = event
            if not header.body_length:
                return header, b""
        elif event is not None:
            assert header is not None
            return header, bytes(event)


async def answer(sock: socket.socket, body: bytes, request_id: bytes = ID) -> None:
    head = AnswerHeader(request_id, Outcome.OK, len(body)).encode()
    await asyncio.get_running_loop().sock_sendall(sock, head + body)


@both
@pytest.mark.parametrize("size", [0, 1, 70_000, 5_000_000])
def test_requests_and_answers_of_any_size(loop: str, size: int) -> None:
    async def case(stream: SocketStream, peer: socket.socket, lost: list[int]) -> None:
        body = bytes(range(256)) * (size // 256) + bytes(size % 256)
        chunks = [body[i : i + 65_536] for i in range(0, len(body), 65_536)]
        for _ in range(2):
            exchanging = asyncio.create_task(stream.exchange(request(size), chunks))
            header, seen = await read_request(peer)
            assert (header.body_length, seen) == (size, body)
            await answer(peer, body)
            exchange = await exchanging
            assert bytes(exchange.body) == body
            assert exchange.reusable
        assert not lost

    run(case, loop=loop)


@both
@pytest.mark.parametrize("size", [0, 5, 100_000])
def test_answers_that_come_in_pieces(loop: str, size: int) -> None:
    async def case(stream: SocketStream, peer: socket.socket, lost: list[int]) -> None:
        body = bytes(n % 251 for n in range(size))
        frame = AnswerHeader(ID, Outcome.OK, size).encode() + body
        for cuts in ([1], [3, 5], [4], [20], [len(frame) - size], [len(frame) - 1]):
            exchanging = asyncio.create_task(stream.exchange(request(0), []))
            await read_request(peer)
            for start, end in itertools.pairwise([0, *cuts, len(frame)]):
                await asyncio.get_running_loop().sock_sendall(peer, frame[start:end])
                await asyncio.sleep(0.001)
            exchange = await exchanging
            assert bytes(exchange.body) == body
            assert exchange.reusable
        assert not lost

    run(case, loop=loop)


@both
def test_a_refusal_with_the_end_of_the_connection_behind_it(loop: str) -> None:
    async def case(stream: SocketStream, peer: socket.socket, lost: list[int]) -> None:
        exchanging = asyncio.create_task(stream.exchange(request(3), [b"abc"]))
        await read_request(peer)
        peer.send(AnswerHeader(ID, Outcome.BODY_TOO_LARGE).encode())
        peer.close()
        exchange = await exchanging
        assert exchange.header.outcome is Outcome.BODY_TOO_LARGE
        assert not exchange.reusable
        assert lost == [1]

    run(case, loop=loop)


@both
def test_what_follows_an_answer_ends_the_connection(loop: str) -> None:
    async def case(stream: SocketStream, peer: socket.socket, lost: list[int]) -> None:
        exchanging = asyncio.create_task(stream.exchange(request(0), []))
        await read_request(peer)
        frame = AnswerHeader(ID, Outcome.OK, 3).encode() + b"abc"
        peer.send(frame + frame)
        exchange = await exchanging
        assert bytes(exchange.body) == b"abc"
        assert not exchange.reusable
        assert lost == [1]

    run(case, loop=loop)


@both
def test_an_answer_before_the_whole_request_ends_the_connections_use(loop: str) -> None:
    async def case(stream: SocketStream, peer: socket.socket, lost: list[int]) -> None:
        exchanging = asyncio.create_task(stream.exchange(request(9_000_000), [bytes(9_000_000)]))
        await asyncio.sleep(0)
        await answer(peer, b"no")
        exchange = await exchanging
        assert bytes(exchange.body) == b"no"
        assert not exchange.reusable

    run(case, loop=loop)


@both
def test_an_answer_survives_a_connection_that_closes_under_the_request(loop: str) -> None:
    async def case(stream: SocketStream, peer: socket.socket, lost: list[int]) -> None:
        exchanging = asyncio.create_task(stream.exchange(request(9_000_000), [bytes(9_000_000)]))
        await asyncio.sleep(0)
        await answer(peer, b"no")
        peer.close()
        assert bytes((await exchanging).body) == b"no"

    run(case, loop=loop)


@both
def test_a_peer_that_closes_fails_the_request_and_says_so_once(loop: str) -> None:
    async def case(stream: SocketStream, peer: socket.socket, lost: list[int]) -> None:
        exchanging = asyncio.create_task(stream.exchange(request(0), []))
        await read_request(peer)
        peer.close()
        with pytest.raises(StreamLost) as error:
            await exchanging
        assert not error.value.untouched
        assert lost == [1]
        with pytest.raises(StreamLost) as error:
            await stream.exchange(request(0), [])
        assert error.value.untouched

    run(case, loop=loop)


@both
def test_an_idle_peer_that_closes_is_noticed(loop: str) -> None:
    async def case(stream: SocketStream, peer: socket.socket, lost: list[int]) -> None:
        peer.close()
        while not lost:
            await asyncio.sleep(0.001)

    run(case, loop=loop)


@both
@pytest.mark.parametrize(
    "noise",
    [
        b"\xff\xff\xff\xff",
        b"\x00\x00\x00\x01\xff",
        AnswerHeader(ID, Outcome.OK).encode(),
        AnswerHeader(ID, Outcome.OK, LIMITS.body + 1).encode(),
    ],
)
def test_bytes_that_nobody_asked_for_end_the_connection(loop: str, noise: bytes) -> None:
    async def case(stream: SocketStream, peer: socket.socket, lost: list[int]) -> None:
        await asyncio.get_running_loop().sock_sendall(peer, noise)
        while not lost:
            await asyncio.sleep(0.001)

    run(case, loop=loop)


@both
def test_an_answer_to_another_request_is_none(loop: str) -> None:
    async def case(stream: SocketStream, peer: socket.socket, lost: list[int]) -> None:
        exchanging = asyncio.create_task(stream.exchange(request(0), []))
        await read_request(peer)
        await answer(peer, b"for somebody else", request_id=bytes([1]) * 16)
        with pytest.raises(StreamLost):
            await exchanging
        assert lost == [1]

    run(case, loop=loop)


@both
def test_closing_fails_the_request_and_is_not_called_a_loss(loop: str) -> None:
    async def case(stream: SocketStream, peer: socket.socket, lost: list[int]) -> None:
        exchanging = asyncio.create_task(stream.exchange(request(9_000_000), [bytes(9_000_000)]))
        await asyncio.sleep(0.01)
        stream.close()
        stream.close()
        with pytest.raises(StreamLost):
            await exchanging
        assert not lost

    run(case, loop=loop)


@both
def test_vsock_where_the_kernel_can_loop_it_back(loop: str) -> None:
    async def main() -> None:
        with socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM) as listener:
            listener.bind((socket.VMADDR_CID_ANY, socket.VMADDR_PORT_ANY))
            listener.listen()
            loopback = VsockAddress(1, listener.getsockname()[1])
            stream = SocketStream(await open_socket(loopback, 1.0), LIMITS, lambda: None)
            theirs, _ = listener.accept()
            theirs.setblocking(False)
            with theirs:
                exchanging = asyncio.create_task(stream.exchange(request(3), [b"abc"]))
                assert (await read_request(theirs))[1] == b"abc"
                await answer(theirs, b"def")
                assert bytes((await exchanging).body) == b"def"
                stream.close()

    try:
        run_in(loop, main())
    except (OSError, DialError) as error:
        pytest.skip(f"this kernel does not loop vsock back: {error}")


@both
def test_connecting_without_the_loops_own_way(loop: str) -> None:
    """What vsock sockets are connected with, on TCP, which every kernel has."""

    async def main() -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            target = listener.getsockname()
            with socket.socket() as ours:
                ours.setblocking(False)
                await connect_in_loop(ours, target)
                theirs, _ = listener.accept()
                theirs.close()
        with socket.socket() as ours:
            ours.setblocking(False)
            with pytest.raises(ConnectionRefusedError):
                await connect_in_loop(ours, target)

    run_in(loop, main())


@pytest.mark.parametrize(
    ("chunks", "written"),
    [
        ([], [10]),
        ([65_526], [65_536]),
        ([65_527], [65_536, 1]),
        ([600_000], [65_536, 262_144, 262_144, 10_186]),
        ([30_000, 30_000, 30_000], [65_536, 24_474]),
        ([65_536, 262_145], [65_536, 65_536, 196_619]),
    ],
)
def test_a_frame_is_written_in_64_to_256_kib(chunks: list[int], written: list[int]) -> None:
    found = [len(each) for each in pieces(bytes(10), [bytes(size) for size in chunks])]
    assert found == written


@settings(max_examples=80, deadline=None)
@given(
    st.binary(min_size=1, max_size=100),
    st.lists(st.integers(0, 3 * MAX_WRITE), max_size=6),
)
def test_writes_are_of_good_sizes_and_lose_nothing(head: bytes, sizes: list[int]) -> None:
    chunks = [bytes([n % 256]) * size for n, size in enumerate(sizes)]
    written = [bytes(piece) for piece in pieces(head, chunks)]
    assert b"".join(written) == head + b"".join(chunks)
    assert all(len(piece) <= MAX_WRITE + MIN_WRITE for piece in written)
    assert all(len(piece) >= MIN_WRITE for piece in written[:-1])
