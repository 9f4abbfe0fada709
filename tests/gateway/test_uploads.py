"""Bodies of uploads: whole, in order, within every limit, and never read as a request."""

from __future__ import annotations

import asyncio
import hashlib
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from blindgate import problems
from blindgate.link import Operation, Outcome, RequestHeader
from gateway.http.connections import BoundedProtocol
from tests.gateway.conftest import serve_gateway
from tests.gateway.fake_worker import running
from tests.gateway.wire import Wire
from tests.gateway.wire import head as http_head

pytestmark = pytest.mark.anyio
OHTTP = "/.well-known/ohttp-gateway"
SEALED = {"content-type": "message/ohttp-req"}
KIB = 1024


def noise(size: int) -> bytes:
    return b"\x07" + random.Random(size).randbytes(size - 1)


def head(size: int, *more: str) -> bytes:
    return http_head(OHTTP, "content-type: message/ohttp-req", f"content-length: {size}", *more)


async def echo_digest(_: RequestHeader, body: bytes) -> tuple[Outcome, bytes]:
    return Outcome.OK, hashlib.sha256(body).digest()


def pieces(data: bytes, sizes: Iterator[int]) -> Iterator[bytes]:
    while data:
        size = next(sizes)
        yield data[:size]
        data = data[size:]


async def is_digest_of(wire: Wire, body: bytes) -> None:
    response = await wire.response()
    assert (response.status, response.body) == (200, hashlib.sha256(body).digest())


@pytest.mark.parametrize("size", [1, 70_000, 256 * KIB, 256 * KIB + 1, 3_000_001])
async def test_a_body_arrives_as_it_was_sent(worker_path: Path, size: int) -> None:
    async with running(worker_path) as worker, serve_gateway(worker) as served:
        worker.answers[Operation.OHTTP] = echo_digest
        async with Wire.to(served) as wire:
            for number in range(3):
                body = noise(size + number)
                await wire.send(head(len(body)) + body)
                await is_digest_of(wire, body)


async def test_a_body_in_odd_pieces_arrives_as_it_was_sent(worker_path: Path) -> None:
    body = noise(700_000)
    sizes = random.Random(1)
    async with running(worker_path) as worker, serve_gateway(worker) as served:
        worker.answers[Operation.OHTTP] = echo_digest
        async with Wire.to(served) as wire:
            await wire.send(head(len(body)))
            for piece in pieces(body, iter(lambda: sizes.choice([1, 5000, 65_536, 200_000]), 0)):
                await wire.send(piece)
                await asyncio.sleep(0.001)
            await is_digest_of(wire, body)


async def test_a_pipelined_request_is_not_taken_for_body(worker_path: Path) -> None:
    first, second = noise(400_000), noise(300_000)
    async with running(worker_path) as worker, serve_gateway(worker) as served:
        worker.answers[Operation.OHTTP] = echo_digest
        async with Wire.to(served) as wire:
            sent = asyncio.create_task(
                wire.send(head(len(first)) + first + head(len(second)) + second + b"GET /livez ")
            )
            await is_digest_of(wire, first)
            await is_digest_of(wire, second)
            await sent
            await wire.send(b"HTTP/1.1\r\nhost: gateway\r\n\r\n")
            assert (await wire.response()).status == 200


async def test_concurrent_bodies_do_not_mix(worker_path: Path) -> None:
    async with running(worker_path) as worker, serve_gateway(worker) as served:
        worker.answers[Operation.OHTTP] = echo_digest

        async def one(number: int) -> None:
            async with Wire.to(served) as wire:
                body = noise(300_000 + number * 9973)
                await wire.send(head(len(body)) + body)
                await is_digest_of(wire, body)

        await asyncio.gather(*(one(number) for number in range(24)))


async def test_a_client_may_wait_for_permission_to_send(worker_path: Path) -> None:
    body = noise(500_000)
    async with running(worker_path) as worker, serve_gateway(worker) as served:
        worker.answers[Operation.OHTTP] = echo_digest
        async with Wire.to(served) as wire:
            await wire.send(head(len(body), "expect: 100-continue"))
            async with asyncio.timeout(10):
                assert b" 100 " in await wire.reader.readuntil(b"\r\n\r\n")
            await wire.send(body)
            await is_digest_of(wire, body)


async def test_a_client_that_leaves_in_the_middle_gives_its_memory_back(worker_path: Path) -> None:
    async with (
        running(worker_path) as worker,
        serve_gateway(worker) as served,
        Wire.to(served) as wire,
    ):
        await wire.send(head(2_000_000) + noise(1_000_000))
        plane = served.app.state.dataplane
        await served.until(lambda: plane.held_bytes == 2_000_000)
        wire.abort()
        await served.until(lambda: plane.held_bytes == 0)
        assert not worker.of(Operation.OHTTP)


@pytest.mark.parametrize("sent", [0, 70_000, 600_000])
async def test_a_body_that_stops_is_refused(worker_path: Path, sent: int) -> None:
    async with (
        running(worker_path) as worker,
        serve_gateway(worker, upload_grace=0.2, min_upload_rate=10_000_000) as served,
        Wire.to(served) as wire,
    ):
        await wire.send(head(2_000_000) + noise(2_000_000)[:sent])
        response = await wire.response()
        assert response.status == 408
        assert response.json()["type"] == problems.UPLOAD_TIMEOUT.type
        assert await wire.rest() == b""
        assert served.app.state.dataplane.held_bytes == 0


async def test_a_client_that_leaves_during_the_work_cancels_it(worker_path: Path) -> None:
    async def never(_: RequestHeader, __: bytes) -> tuple[Outcome, bytes]:
        await asyncio.sleep(60)
        return Outcome.OK, b""

    async with running(worker_path) as worker, serve_gateway(worker) as served:
        worker.answers[Operation.OHTTP] = never
        async with Wire.to(served) as wire:
            await wire.send(head(600_000) + noise(600_000))
            await served.until(lambda: bool(worker.of(Operation.OHTTP)))
            wire.abort()
            async with asyncio.timeout(10):
                await worker.cancelled.wait()


async def test_a_body_that_waits_for_memory_stays_in_the_socket(worker_path: Path) -> None:
    async with (
        running(worker_path) as worker,
        serve_gateway(worker, max_body=1024 * KIB, byte_budget=1024 * KIB) as served,
        Wire.to(served) as first,
        Wire.to(served) as second,
    ):
        worker.answers[Operation.OHTTP] = echo_digest
        plane = served.app.state.dataplane
        await first.send(head(1_000_000))
        await served.until(lambda: plane.held_bytes == 1_000_000)
        body = noise(1_000_000)
        sent = asyncio.create_task(second.send(head(len(body)) + body))
        await served.until(lambda: plane.uploads_waiting == 1)
        await asyncio.sleep(0.3)
        buffered = [
            len(connection.cycle.body) + len(connection.conn.trailing_data[0])
            for connection in served.server.server_state.connections
            if isinstance(connection, BoundedProtocol) and connection.cycle is not None
        ]
        # One read of the event loop, which comes with the head.
        assert max(buffered) <= 256 * KIB
        await first.send(body)
        await is_digest_of(first, body)
        await sent
        await is_digest_of(second, body)


# Bodies that are refused: one of 5,000 bytes is over a limit of 4,096


@pytest.mark.parametrize("sent", [0, 1000, 5000])
async def test_after_a_short_body_that_is_refused_the_connection_stays(
    worker_path: Path, sent: int
) -> None:
    async with running(worker_path) as worker, serve_gateway(worker, max_body=4096) as served:
        worker.answers[Operation.OHTTP] = echo_digest
        async with Wire.to(served) as wire:
            for size in (5000, 1024 * KIB):
                refused, taken = noise(size), noise(4000)
                await wire.send(head(size) + refused[:sent])
                assert (await wire.response()).status == 413
                # The next request comes in one piece with the rest.
                await wire.send(refused[sent:] + head(len(taken)) + taken)
                await is_digest_of(wire, taken)


async def test_requests_that_follow_a_refused_body_are_answered(worker_path: Path) -> None:
    taken = noise(4000)
    async with running(worker_path) as worker, serve_gateway(worker, max_body=4096) as served:
        worker.answers[Operation.OHTTP] = echo_digest
        async with Wire.to(served) as wire:
            both = head(90_000) + noise(90_000) + head(len(taken)) + taken
            await wire.send(both + both)
            for _ in range(2):
                assert (await wire.response()).status == 413
                await is_digest_of(wire, taken)


async def test_the_body_of_the_next_request_is_not_the_rest_of_a_refused_one(
    worker_path: Path,
) -> None:
    """Whatever of the second request came with the first one."""
    taken = noise(3000)
    async with running(worker_path) as worker, serve_gateway(worker, max_body=4096) as served:
        worker.answers[Operation.OHTTP] = echo_digest
        missing = http_head("/v2/models/nothing/infer", "content-length: 3") + b"abc"
        async with Wire.to(served) as wire:
            for refused in (missing, head(5000) + noise(5000)):
                for there in (0, 100, 2999):
                    await wire.send(refused + head(len(taken)) + taken[:there])
                    assert (await wire.response()).status in (404, 413)
                    await wire.send(taken[there:])
                    await is_digest_of(wire, taken)


@pytest.mark.parametrize("keep_alive", [1, 5])
async def test_a_refused_body_that_trickles_does_not_keep_its_connection(
    worker_path: Path, keep_alive: int
) -> None:
    async with (
        running(worker_path) as worker,
        serve_gateway(worker, max_body=4096, keep_alive=keep_alive, head_timeout=1) as served,
        Wire.to(served) as wire,
    ):
        await wire.send(head(5000) + noise(4000))
        assert (await wire.response()).status == 413
        closed = asyncio.create_task(wire.rest())
        async with asyncio.timeout(10):
            for byte in noise(5000)[4000:4999]:
                if closed.done():
                    break
                wire.writer.write(bytes([byte]))
                await asyncio.sleep(0.02)
            assert await closed == b""


@pytest.mark.parametrize(
    "begins",
    [
        head(1024 * KIB + 1),
        head(5000, "expect: 100-continue"),
        head(5000, "connection: close"),
        head(5000).replace(b"HTTP/1.1", b"HTTP/1.0"),
        http_head(OHTTP, "content-type: message/ohttp-req", "transfer-encoding: chunked")
        + b"2000\r\n"
        + bytes(0x2000),
    ],
    ids=["long", "not to be sent", "the last one", "of HTTP/1.0", "of unknown length"],
)
async def test_after_other_bodies_that_are_refused_the_connection_is_closed(
    worker_path: Path, begins: bytes
) -> None:
    async with (
        running(worker_path) as worker,
        serve_gateway(worker, max_body=4096) as served,
        Wire.to(served) as wire,
    ):
        await wire.send(begins)
        response = await wire.response()
        assert response.status == 413
        assert response.headers["connection"] == "close"
        assert await wire.rest() == b""


@pytest.mark.parametrize(
    ("path", "status"), [(OHTTP, 413), ("/nowhere", 404), ("/livez", 405), ("/v1/models", 405)]
)
async def test_a_client_that_sends_a_whole_refused_body_first_sees_the_response(
    worker_path: Path, path: str, status: int
) -> None:
    async with (
        running(worker_path) as worker,
        serve_gateway(worker, max_body=4096) as served,
        Wire.to(served) as wire,
    ):
        size = 8_000_000
        await wire.send(
            http_head(path, "content-type: message/ohttp-req", f"content-length: {size}")
        )
        await wire.send(noise(size))
        response = await wire.response()
        assert response.status == status
        assert response.headers["connection"] == "close"


async def test_a_refused_body_without_an_end_is_cut_off(worker_path: Path) -> None:
    async with (
        running(worker_path) as worker,
        serve_gateway(worker, max_body=4096) as served,
        Wire.to(served) as wire,
    ):
        await wire.send(
            http_head(OHTTP, "content-type: message/ohttp-req", "transfer-encoding: chunked")
        )
        chunk = b"10000\r\n" + bytes(0x10000) + b"\r\n"
        with pytest.raises(ConnectionError):
            async with asyncio.timeout(30):
                while True:
                    wire.writer.write(chunk)
                    await wire.writer.drain()


async def test_after_a_client_that_leaves_a_refusal_others_are_served(worker_path: Path) -> None:
    async with running(worker_path) as worker, serve_gateway(worker, max_body=4096) as served:
        async with Wire.to(served) as wire:
            await wire.send(head(5000))
            assert (await wire.response()).status == 413
            wire.abort()
        response = await served.http.post(OHTTP, content=noise(100), headers=SEALED)
        assert response.status_code == 200
