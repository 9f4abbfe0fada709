"""Bodies that are received without the HTTP server: whole, in order, and within every limit."""

from __future__ import annotations

import asyncio
import hashlib
import random
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from blindgate.link import Operation, Outcome, RequestHeader
from gateway.uploads.direct import CHUNK, ChunkStore, ClientGone, Discard, RestOfBody
from tests.gateway.conftest import Served, serve_gateway
from tests.gateway.fake_worker import running

pytestmark = pytest.mark.anyio
OHTTP = "/.well-known/ohttp-gateway"
SEALED = {"content-type": "message/ohttp-req"}


def noise(size: int) -> bytes:
    return b"\x07" + random.Random(size).randbytes(size - 1)


def head(size: int, *more: str) -> bytes:
    lines = [
        f"POST {OHTTP} HTTP/1.1",
        "host: gateway",
        "content-type: message/ohttp-req",
        f"content-length: {size}",
        *more,
    ]
    return "\r\n".join([*lines, "", ""]).encode()


async def read_answer(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    lines = (await reader.readuntil(b"\r\n\r\n")).lower().split(b"\r\n")
    length = next(line for line in lines if line.startswith(b"content-length:"))
    return int(lines[0].split()[1]), await reader.readexactly(int(length.split(b":")[1]))


async def echo_digest(_: RequestHeader, body: bytes) -> tuple[Outcome, bytes]:
    return Outcome.OK, hashlib.sha256(body).digest()


class Line:
    """One connection to a gateway, byte by byte."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    @classmethod
    @asynccontextmanager
    async def to(cls, served: Served) -> AsyncIterator[Line]:
        line = cls(*await asyncio.open_connection("127.0.0.1", served.port))
        try:
            yield line
        finally:
            line.writer.close()
            with suppress(ConnectionError):
                await line.writer.wait_closed()

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def answer(self) -> tuple[int, bytes]:
        async with asyncio.timeout(10):
            return await read_answer(self.reader)


def pieces(data: bytes, sizes: Iterator[int]) -> Iterator[bytes]:
    while data:
        size = next(sizes)
        yield data[:size]
        data = data[size:]


# Through a real server


@pytest.mark.parametrize("size", [1, 70_000, CHUNK, CHUNK + 1, 3 * CHUNK, 3_000_001])
async def test_a_body_arrives_as_it_was_sent(worker_path: Path, size: int) -> None:
    async with running(worker_path) as worker, serve_gateway(worker) as served:
        worker.answers[Operation.OHTTP] = echo_digest
        async with Line.to(served) as line:
            # Three on one connection: memory and connection are used again.
            for number in range(3):
                body = noise(size + number)
                await line.send(head(len(body)) + body)
                assert await line.answer() == (200, hashlib.sha256(body).digest())


async def test_a_body_in_odd_pieces_arrives_as_it_was_sent(worker_path: Path) -> None:
    body = noise(700_000)
    sizes = random.Random(1)
    async with running(worker_path) as worker, serve_gateway(worker) as served:
        worker.answers[Operation.OHTTP] = echo_digest
        async with Line.to(served) as line:
            await line.send(head(len(body)))
            for piece in pieces(body, iter(lambda: sizes.choice([1, 5000, 65_536, 200_000]), 0)):
                await line.send(piece)
                await asyncio.sleep(0.001)
            assert await line.answer() == (200, hashlib.sha256(body).digest())


async def test_a_request_that_follows_at_once_is_not_taken_for_body(worker_path: Path) -> None:
    first, second = noise(400_000), noise(300_000)
    async with running(worker_path) as worker, serve_gateway(worker) as served:
        worker.answers[Operation.OHTTP] = echo_digest
        async with Line.to(served) as line:
            sent = asyncio.create_task(
                line.send(head(len(first)) + first + head(len(second)) + second + b"GET /livez ")
            )
            assert await line.answer() == (200, hashlib.sha256(first).digest())
            assert await line.answer() == (200, hashlib.sha256(second).digest())
            await sent
            await line.send(b"HTTP/1.1\r\nhost: gateway\r\n\r\n")
            assert (await line.answer())[0] == 200


async def test_many_bodies_at_once_do_not_mix(worker_path: Path) -> None:
    async with running(worker_path) as worker, serve_gateway(worker) as served:
        worker.answers[Operation.OHTTP] = echo_digest

        async def one(number: int) -> bool:
            async with Line.to(served) as line:
                body = noise(300_000 + number * 9973)
                await line.send(head(len(body)) + body)
                return await line.answer() == (200, hashlib.sha256(body).digest())

        assert all(await asyncio.gather(*(one(number) for number in range(24))))


async def test_a_client_may_wait_for_leave_to_send(worker_path: Path) -> None:
    body = noise(500_000)
    async with running(worker_path) as worker, serve_gateway(worker) as served:
        worker.answers[Operation.OHTTP] = echo_digest
        async with Line.to(served) as line:
            await line.send(head(len(body), "expect: 100-continue"))
            async with asyncio.timeout(10):
                assert b" 100 " in await line.reader.readuntil(b"\r\n\r\n")
            await line.send(body)
            assert await line.answer() == (200, hashlib.sha256(body).digest())


async def test_a_client_that_leaves_in_the_middle_costs_nothing(worker_path: Path) -> None:
    async with (
        running(worker_path) as worker,
        serve_gateway(worker) as served,
        Line.to(served) as line,
    ):
        await line.send(head(2_000_000) + noise(1_000_000))
        plane = served.app.state.dataplane
        await served.until(lambda: plane.held_bytes == 2_000_000)
        line.writer.transport.abort()
        await served.until(lambda: plane.held_bytes == 0)
        assert not worker.of(Operation.OHTTP)


@pytest.mark.parametrize("sent", [0, 70_000, 600_000])
async def test_a_body_that_stops_is_given_up(worker_path: Path, sent: int) -> None:
    async with (
        running(worker_path) as worker,
        serve_gateway(worker, upload_grace=0.2, min_upload_rate=10_000_000) as served,
        Line.to(served) as line,
    ):
        await line.send(head(2_000_000) + noise(2_000_000)[:sent])
        status, body = await line.answer()
        assert status == 408
        assert b"upload-timeout" in body
        assert await line.reader.read() == b""
        assert served.app.state.dataplane.held_bytes == 0


async def test_a_client_that_leaves_during_the_work_cancels_it(worker_path: Path) -> None:
    async def never(_: RequestHeader, __: bytes) -> tuple[Outcome, bytes]:
        await asyncio.sleep(60)
        return Outcome.OK, b""

    async with running(worker_path) as worker, serve_gateway(worker) as served:
        worker.answers[Operation.OHTTP] = never
        async with Line.to(served) as line:
            await line.send(head(600_000) + noise(600_000))
            await served.until(lambda: bool(worker.of(Operation.OHTTP)))
            line.writer.transport.abort()
            async with asyncio.timeout(10):
                await worker.cancelled.wait()


# Bodies that are refused: one of 5,000 bytes is over a limit of 4,096


@pytest.mark.parametrize("sent", [0, 1000, 5000])
async def test_after_a_short_body_that_is_refused_the_connection_stays(
    worker_path: Path, sent: int
) -> None:
    async with running(worker_path) as worker, serve_gateway(worker, max_body=4096) as served:
        worker.answers[Operation.OHTTP] = echo_digest
        async with Line.to(served) as line:
            for size in (5000, 1024 * 1024):
                refused, taken = noise(size), noise(4000)
                await line.send(head(size) + refused[:sent])
                assert (await line.answer())[0] == 413
                # The next request comes in one piece with the rest.
                await line.send(refused[sent:] + head(len(taken)) + taken)
                assert await line.answer() == (200, hashlib.sha256(taken).digest())


async def test_requests_that_follow_a_refused_body_at_once_are_answered(worker_path: Path) -> None:
    taken = noise(4000)
    async with running(worker_path) as worker, serve_gateway(worker, max_body=4096) as served:
        worker.answers[Operation.OHTTP] = echo_digest
        async with Line.to(served) as line:
            both = head(90_000) + noise(90_000) + head(len(taken)) + taken
            await line.send(both + both)
            for _ in range(2):
                assert (await line.answer())[0] == 413
                assert await line.answer() == (200, hashlib.sha256(taken).digest())


async def test_a_refused_body_that_stops_does_not_keep_its_connection(worker_path: Path) -> None:
    async with (
        running(worker_path) as worker,
        serve_gateway(worker, max_body=4096, keep_alive=1) as served,
        Line.to(served) as line,
    ):
        await line.send(head(5000) + noise(4000))
        assert (await line.answer())[0] == 413
        async with asyncio.timeout(10):
            for byte in noise(5000)[4000:4999]:
                await line.send(bytes([byte]))
                await asyncio.sleep(0.01)
                if line.reader.at_eof():
                    break
            assert await line.reader.read() == b""


@pytest.mark.parametrize(
    "begins",
    [
        head(1024 * 1024 + 1),
        head(5000, "expect: 100-continue"),
        head(5000, "connection: close"),
        head(5000).replace(b"HTTP/1.1", b"HTTP/1.0"),
    ],
    ids=["long", "not to be sent", "the last one", "of HTTP/1.0"],
)
async def test_after_other_bodies_that_are_refused_the_connection_is_closed(
    worker_path: Path, begins: bytes
) -> None:
    async with (
        running(worker_path) as worker,
        serve_gateway(worker, max_body=4096) as served,
        Line.to(served) as line,
    ):
        await line.send(begins)
        async with asyncio.timeout(10):
            answer = await line.reader.read()  # to the end of the connection
        assert answer.startswith(b"HTTP/1.1 413 ")
        assert b"\r\nconnection: close\r\n" in answer


async def test_who_leaves_after_a_refusal_is_missed_by_nobody(worker_path: Path) -> None:
    async with running(worker_path) as worker, serve_gateway(worker, max_body=4096) as served:
        async with Line.to(served) as line:
            await line.send(head(5000))
            assert (await line.answer())[0] == 413
            line.writer.transport.abort()
        answer = await served.http.post(OHTTP, content=noise(100), headers=SEALED)
        assert answer.status_code == 200


# By itself


class Server:
    """Remembers what it is told."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def connection_lost(self, exc: Exception | None) -> None:
        self.told.append(f"lost {exc}")

    def eof_received(self) -> bool | None:
        self.told.append("eof")
        return None

    def pause_writing(self) -> None:
        self.told.append("pause")

    def resume_writing(self) -> None:
        self.told.append("resume")

    def rest_is_over(self, *, whole: bool) -> None:
        self.told.append("whole" if whole else "left")


def receive(rest: RestOfBody, data: bytes, sizes: Iterator[int]) -> None:
    """As a transport does: never more than there is room for."""
    while data:
        room = rest.get_buffer(65_536)
        count = min(next(sizes), len(room), len(data))
        room[:count] = data[:count]
        rest.buffer_updated(count)
        data = data[count:]


@settings(deadline=None, max_examples=50)
@given(st.integers(1, 3 * CHUNK), st.lists(st.integers(500, CHUNK), min_size=1), st.booleans())
def test_every_byte_has_its_place(size: int, sizes: list[int], used: bool) -> None:
    async def run() -> None:
        store, server = ChunkStore(), Server()
        if used:
            store.give_back([bytearray(b"\xff" * CHUNK)])
        rest = RestOfBody(server, size, store)
        body = noise(size)
        receive(rest, body, iter(lambda: sizes[rest.received % len(sizes)], 0))
        assert rest.complete.done()
        assert server.told == ["whole"]
        assert b"".join(rest.views()) == body
        rest.release()
        assert not rest.views()

    asyncio.run(run())


async def test_what_the_connection_says_reaches_its_server() -> None:
    server = Server()
    rest = RestOfBody(server, 10, ChunkStore())
    rest.pause_writing()
    rest.resume_writing()
    rest.eof_received()
    rest.connection_lost(None)
    rest.leave()
    assert server.told == ["pause", "resume", "eof", "lost None"]
    with pytest.raises(ClientGone):
        rest.complete.result()


async def test_a_body_that_is_left_gives_the_connection_back_once() -> None:
    server = Server()
    rest = RestOfBody(server, 10, ChunkStore())
    receive(rest, b"abc", iter(lambda: 3, 0))
    rest.leave()
    rest.leave()
    assert server.told == ["left"]


def test_a_store_keeps_no_more_than_it_may() -> None:
    store = ChunkStore(kept=2)
    store.give_back([bytearray(CHUNK) for _ in range(5)])
    assert repr(store) == "<ChunkStore 2 of 2 chunks free>"
    assert [len(store.take()) for _ in range(3)] == [CHUNK] * 3


@given(size=st.integers(1, 2 * CHUNK), offered=st.lists(st.integers(1, 2 * CHUNK), min_size=1))
def test_nothing_behind_a_discarded_body_is_received_with_it(size: int, offered: list[int]) -> None:
    async def case() -> None:
        server, left = Server(), size
        discard = Discard(server, size, stays=True)
        for count in offered:
            if discard.ended.done():
                break
            taken = min(count, len(discard.get_buffer(65_536)))
            left -= taken
            assert left >= 0
            discard.buffer_updated(taken)
        assert discard.ended.done() == (left == 0)
        assert server.told == (["whole"] if left == 0 else [])

    asyncio.run(case())


@pytest.mark.parametrize("size", [3, None])
def test_a_connection_that_is_to_be_closed_is_not_given_back(size: int | None) -> None:
    async def case() -> None:
        server = Server()
        discard = Discard(server, size)
        for _ in range(2):  # as long as it is not closed, more may come
            assert len(discard.get_buffer(65_536)) >= 3
            discard.buffer_updated(3)
        assert discard.ended.done() == (size is not None)
        discard.eof_received()
        discard.connection_lost(None)
        assert discard.ended.done()
        assert server.told == ["eof", "lost None"]

    asyncio.run(case())
