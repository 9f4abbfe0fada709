"""Requests on one connection: where each ends, what is refused, and one response for each.

RFC 9112 §11.2: a server and a proxy that find different ends let a client smuggle requests.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
from collections.abc import Callable
from pathlib import Path
from unittest.mock import Mock

import h11
import pytest
from prometheus_client.parser import text_string_to_metric_families
from starlette.types import Receive, Scope, Send
from uvicorn import Config
from uvicorn.server import ServerState

from blindgate import problems
from blindgate.link import Operation, Outcome, RequestHeader
from blindgate.problems import Problem
from gateway.http import connections
from gateway.http.connections import bounded_protocol
from tests.gateway.conftest import Served, serve_gateway
from tests.gateway.fake_worker import Handler, running
from tests.gateway.wire import Reply, Wire, chunked, head

pytestmark = pytest.mark.anyio
DETECT = "/v1/detections"
OCTETS = "content-type: application/octet-stream"
#: Every route that takes a body, with its media type; each finds the hidden request no envelope.
ROUTES = {
    DETECT: OCTETS,
    "/.well-known/ohttp-gateway": "content-type: message/ohttp-req",
    "/v2/models/fake/infer": "content-type: application/json",
    "/v2/models/fake/versions/1/infer": "content-type: application/json",
}
OFFERS = {
    "h2c": ("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABk"),
    "websocket": ("Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13"),
    "TLS": ("Connection: upgrade", "Upgrade: TLS/1.2, HTTP/1.1"),
    "unknown": ("Connection: keep-alive, Upgrade", "Upgrade: something/1"),
    "without Connection": ("Upgrade: h2c",),
}
#: A body that is a request.
HIDDEN = b"GET /v1/models HTTP/1.1\r\nHost: hidden\r\n\r\n"
LIVE = head("/livez", method="GET")


async def reject(_: RequestHeader, __: bytes) -> tuple[Outcome, bytes]:
    return Outcome.ENVELOPE_REJECTED, b""


async def echo(_: RequestHeader, body: bytes) -> tuple[Outcome, bytes]:
    return Outcome.OK, json.dumps({"sha256": hashlib.sha256(body).hexdigest()}).encode()


def is_problem(reply: Reply, problem: Problem) -> None:
    assert (reply.status, reply.json().get("type")) == (problem.status, problem.type)
    assert reply.headers["content-type"] == problems.MEDIA_TYPE
    assert reply.headers["cache-control"] == "no-store"
    assert reply.json()["request_id"] == reply.headers["x-request-id"]


async def is_alone(wire: Wire) -> None:
    """The next request gets the next response, and there is no other."""
    await wire.send(LIVE)
    assert (await wire.response()).json() == {"live": True}
    await wire.send(head("/livez", "connection: close", method="GET"))
    assert (await wire.response()).json() == {"live": True}
    assert await wire.rest() == b""


@pytest.mark.parametrize("offer", OFFERS)
@pytest.mark.parametrize("route", ROUTES)
async def test_the_body_of_a_request_that_offers_an_upgrade_is_its_body(
    worker_path: Path, route: str, offer: str
) -> None:
    fields = (ROUTES[route], *OFFERS[offer])
    whole = head(route, *fields, f"content-length: {len(HIDDEN)}"), HIDDEN
    in_chunks = head(route, *fields, "transfer-encoding: chunked"), chunked(HIDDEN)
    async with running(worker_path) as worker, serve_gateway(worker) as served:
        worker.answers[Operation.DETECT] = worker.answers[Operation.OHTTP] = reject
        statuses = set()
        for before, body in (whole, in_chunks):
            for pieces in ([before + body], [before, body], [before, body[:9], body[9:]]):
                async with Wire.to(served) as wire:
                    await wire.send(*pieces)
                    statuses.add((await wire.response()).status)
                    await is_alone(wire)
        # The body was read and judged: 400 and 422 say that it is no sealed request or envelope.
        assert statuses <= {400, 422}
        assert len(statuses) == 1


async def test_an_envelope_with_an_upgrade_offer_reaches_the_enclave(worker_path: Path) -> None:
    body = bytes(range(256)) * 2000
    async with running(worker_path) as worker, serve_gateway(worker) as served:
        async with Wire.to(served) as wire:
            await wire.send(
                head(DETECT, OCTETS, *OFFERS["h2c"], f"content-length: {len(body)}"),
                body[:100_000],
                body[100_000:],
            )
            assert (await wire.response()).status == 200
            await is_alone(wire)
        assert worker.of(Operation.DETECT)[0][1] == body


@pytest.mark.parametrize("offer", OFFERS)
@pytest.mark.parametrize(
    ("path", "method", "status"),
    [("/livez", "GET", 200), ("/nowhere", "POST", 404), ("/v1/models", "PUT", 405)],
)
async def test_a_body_that_a_route_does_not_want_is_not_a_request(
    path: str, method: str, status: int, offer: str
) -> None:
    async with serve_gateway() as served:
        for pause in (False, True):
            async with Wire.to(served) as wire:
                before = head(path, *OFFERS[offer], f"content-length: {len(HIDDEN)}", method=method)
                await wire.send(*((before, HIDDEN) if pause else (before + HIDDEN,)))
                assert (await wire.response()).status == status
                await is_alone(wire)


async def test_websocket_handshakes_are_ordinary_requests(caplog: pytest.LogCaptureFixture) -> None:
    async with serve_gateway() as served, Wire.to(served) as wire:
        key = "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA=="
        await wire.send(head("/livez", *OFFERS["websocket"], key, method="GET"))
        assert (await wire.response()).status == 200
        await is_alone(wire)
    assert not [record for record in caplog.records if record.name.startswith("uvicorn")]


# What is refused before the application sees it

MALFORMED: dict[str, tuple[bytes, Problem]] = {
    "no Host": (b"GET /livez HTTP/1.1\r\n\r\n", problems.MALFORMED_REQUEST),
    "two Hosts": (
        head("/livez", "Host: other", method="GET"),
        problems.MALFORMED_REQUEST,
    ),
    "two Hosts in HTTP/1.0": (
        head("/livez", "Host: gateway", method="GET", version="HTTP/1.0"),
        problems.MALFORMED_REQUEST,
    ),
    "a Host that is none": (
        b"GET /livez HTTP/1.1\r\nHost: a b/c\r\n\r\n",
        problems.MALFORMED_REQUEST,
    ),
    "both framings": (
        head(DETECT, OCTETS, "content-length: 5", "transfer-encoding: chunked") + b"0\r\n\r\n",
        problems.MALFORMED_REQUEST,
    ),
    "both framings, the other way": (
        head(DETECT, OCTETS, "transfer-encoding: chunked", "content-length: 5") + b"0\r\n\r\n",
        problems.MALFORMED_REQUEST,
    ),
    "two lengths": (
        head(DETECT, OCTETS, "content-length: 5", "content-length: 6") + b"abcdef",
        problems.MALFORMED_REQUEST,
    ),
    "two lengths in one field": (
        head(DETECT, OCTETS, "content-length: 5, 6") + b"abcdef",
        problems.MALFORMED_REQUEST,
    ),
    "a signed length": (
        head(DETECT, OCTETS, "content-length: +5") + b"abcde",
        problems.MALFORMED_REQUEST,
    ),
    "a negative length": (head(DETECT, OCTETS, "content-length: -1"), problems.MALFORMED_REQUEST),
    "a hexadecimal length": (
        head(DETECT, OCTETS, "content-length: 0x5") + b"abcde",
        problems.MALFORMED_REQUEST,
    ),
    "an unknown coding": (
        head(DETECT, OCTETS, "transfer-encoding: gzip, chunked"),
        problems.NOT_IMPLEMENTED,
    ),
    "a coding twice": (
        head(DETECT, OCTETS, "transfer-encoding: chunked", "transfer-encoding: chunked"),
        problems.NOT_IMPLEMENTED,
    ),
    "chunked in HTTP/1.0": (
        head(DETECT, OCTETS, "transfer-encoding: chunked", version="HTTP/1.0") + b"0\r\n\r\n",
        problems.MALFORMED_REQUEST,
    ),
    "a space before the colon": (
        head(DETECT, OCTETS, "transfer-encoding : chunked") + b"0\r\n\r\n",
        problems.MALFORMED_REQUEST,
    ),
    "a folded field": (
        head("/livez", "x: a", " b", method="GET"),
        problems.MALFORMED_REQUEST,
    ),
    "a folded field with a tab": (
        head("/livez", "x: a", "\tb", method="GET"),
        problems.MALFORMED_REQUEST,
    ),
    "bare LFs": (b"GET /livez HTTP/1.1\nHost: gateway\n\n", problems.MALFORMED_REQUEST),
    "one bare LF": (
        b"GET /livez HTTP/1.1\r\nHost: gateway\nx: y\r\n\r\n",
        problems.MALFORMED_REQUEST,
    ),
    "a bare CR": (
        b"GET /livez HTTP/1.1\r\nHost: gateway\r\nx: a\rb: c\r\n\r\n",
        problems.MALFORMED_REQUEST,
    ),
    "a NUL": (head("/livez", "x: a\0b", method="GET"), problems.MALFORMED_REQUEST),
    "a target with a space": (head("/li vez", method="GET"), problems.MALFORMED_REQUEST),
    "HTTP/0.9": (b"GET /livez\r\n\r\n", problems.MALFORMED_REQUEST),
    "HTTP/2": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", problems.HTTP_VERSION),
    "HTTP/3": (head("/livez", method="GET", version="HTTP/3.0"), problems.HTTP_VERSION),
    "two empty lines first": (b"\r\n\r\n" + LIVE, problems.MALFORMED_REQUEST),
    "a TLS handshake": (
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        problems.MALFORMED_REQUEST,
    ),
    "a long URL": (head("/livez?" + "x" * 70_000, method="GET"), problems.URI_TOO_LONG),
    "a URL of a byte too many": (
        head("/" + "x" * (16 * 1024 - len("GET / HTTP/1.1\r")), method="GET"),
        problems.URI_TOO_LONG,
    ),
    "a long value": (head("/livez", "x: " + "y" * 33_000, method="GET"), problems.HEADER_TOO_LARGE),
    "long fields": (
        head("/livez", *(f"x{n}: {'y' * 1000}" for n in range(40)), method="GET"),
        problems.HEADER_TOO_LARGE,
    ),
    "101 fields": (
        head("/livez", *(f"x{n}: y" for n in range(100)), method="GET"),
        problems.HEADER_TOO_LARGE,
    ),
}
CHUNKS = head(DETECT, OCTETS, "transfer-encoding: chunked")
BROKEN_BODIES: dict[str, tuple[bytes, Problem]] = {
    "no size": (b"\r\nabc\r\n0\r\n\r\n", problems.MALFORMED_REQUEST),
    "a size that is none": (b"0x3\r\nabc\r\n0\r\n\r\n", problems.MALFORMED_REQUEST),
    "a signed size": (b"+3\r\nabc\r\n0\r\n\r\n", problems.MALFORMED_REQUEST),
    "a space behind the size": (b"3 \r\nabc\r\n0\r\n\r\n", problems.MALFORMED_REQUEST),
    "a chunk that is longer": (b"3\r\nabcd\r\n0\r\n\r\n", problems.MALFORMED_REQUEST),
    "an LF behind the size": (b"3\nabc\r\n0\r\n\r\n", problems.MALFORMED_REQUEST),
    "an LF behind the chunk": (b"3\r\nabc\n0\r\n\r\n", problems.MALFORMED_REQUEST),
    "a CR in an extension": (b"3;a\rb\r\nabc\r\n0\r\n\r\n", problems.MALFORMED_REQUEST),
    "a long extension": (
        b"3;" + b"x" * 2000 + b"\r\nabc\r\n0\r\n\r\n",
        problems.MALFORMED_REQUEST,
    ),
    "short chunks": (b"1\r\na\r\n" * 3000 + b"0\r\n\r\n", problems.MALFORMED_REQUEST),
    "a trailer that is none": (b"3\r\nabc\r\n0\r\nfoo\r\n\r\n", problems.MALFORMED_REQUEST),
    "a trailer with a bare LF": (
        b"3\r\nabc\r\n0\r\na: b\nc: d\r\n\r\n",
        problems.MALFORMED_REQUEST,
    ),
    "a long trailer": (
        b"3\r\nabc\r\n0\r\nx: " + b"y" * 40_000 + b"\r\n\r\n",
        problems.HEADER_TOO_LARGE,
    ),
    "101 trailers": (
        b"3\r\nabc\r\n0\r\n" + b"a: b\r\n" * 101 + b"\r\n",
        problems.HEADER_TOO_LARGE,
    ),
}


def counted(served: Served, problem: Problem) -> float:
    """How often a refusal was counted in the metrics."""
    return sum(
        float(sample.value)
        for family in text_string_to_metric_families(served.app.state.metrics.text().decode())
        for sample in family.samples
        if sample.name == "blindgate_requests_total" and sample.labels["problem"] == problem.slug
    )


@pytest.mark.parametrize("case", MALFORMED)
async def test_a_malformed_head_is_one_problem_and_ends_the_connection(case: str) -> None:
    sent, problem = MALFORMED[case]
    async with serve_gateway() as served:
        async with Wire.to(served) as wire:
            await wire.send(sent + LIVE)
            is_problem(await wire.response(), problem)
            assert await wire.rest() == b""
        assert counted(served, problem) == 1


@pytest.mark.parametrize("case", BROKEN_BODIES)
async def test_a_malformed_body_is_one_problem_and_ends_the_connection(
    worker_path: Path, case: str
) -> None:
    body, problem = BROKEN_BODIES[case]
    async with running(worker_path) as worker, serve_gateway(worker) as served:
        for pieces in ((CHUNKS + body + LIVE,), (CHUNKS, body + LIVE)):
            async with Wire.to(served) as wire:
                await wire.send(*pieces)
                is_problem(await wire.response(), problem)
                assert await wire.rest() == b""
        assert counted(served, problem) == 2
        assert not worker.of(Operation.DETECT)


async def test_a_refusal_says_which_request_it_was_in_the_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "gateway.http.edge")
    async with serve_gateway() as served, Wire.to(served) as wire:
        await wire.send(b"GET /secret-path HTTP/1.1\r\n\r\n")
        reply = await wire.response()
        served.app.state.records.write()
    (line,) = [vars(each) for each in caplog.records if each.name == "gateway.http.edge"]
    assert line["request_id"] == reply.headers["x-request-id"]
    assert (line["status"], line["problem"]) == (400, "malformed-request")
    assert "secret" not in caplog.text
    assert b"secret" not in reply.body


async def test_responses_before_a_malformed_request_are_sent(worker_path: Path) -> None:
    async with (
        running(worker_path) as worker,
        serve_gateway(worker) as served,
        Wire.to(served) as wire,
    ):
        fine = head(DETECT, OCTETS, "content-length: 4") + b"body"
        await wire.send(fine + LIVE + b"GET /livez HTTP/1.1\r\n\r\n" + LIVE)
        assert (await wire.response()).status == 200
        assert (await wire.response()).json() == {"live": True}
        is_problem(await wire.response(), problems.MALFORMED_REQUEST)
        assert await wire.rest() == b""


async def test_a_body_that_breaks_after_its_response_gets_no_second_one() -> None:
    async with serve_gateway() as served, Wire.to(served) as wire:
        await wire.send(head("/nowhere", "transfer-encoding: chunked") + b"3\r\nabc\r\n")
        assert (await wire.response()).status == 404
        await wire.send(b"no size\r\n")
        assert await wire.rest() == b""


async def test_a_client_that_is_refused_while_it_sends_sees_the_response() -> None:
    async with serve_gateway() as served, Wire.to(served) as wire:
        sent = asyncio.create_task(
            wire.send(*[b"GET /livez HTTP/1.1\r\n" + b"x: y\r\n" * 40_000] * 3)
        )
        is_problem(await wire.response(), problems.HEADER_TOO_LARGE)
        await sent
        assert await wire.rest() == b""


@pytest.mark.parametrize("sent", [b"GET /livez HTTP/1.1\r\n\r\n", CHUNKS + b"no size\r\n"])
async def test_a_refused_client_cannot_keep_its_connection(sent: bytes) -> None:
    async with serve_gateway() as served, Wire.to(served) as wire:
        await wire.send(sent)
        is_problem(await wire.response(), problems.MALFORMED_REQUEST)
        await served.until(lambda: not served.server.server_state.connections)


# What is unusual and allowed

ALLOWED: dict[str, bytes] = {
    "an empty line first": b"\r\n" + LIVE,
    "an absolute URL": head("http://gateway:8080/livez", method="GET"),
    "an absolute URL with a query": head("HTTPS://gateway/livez?a=b", method="GET"),
    "an empty Host": b"GET /livez HTTP/1.1\r\nHost:\r\n\r\n",
    "an IPv6 Host": b"GET /livez HTTP/1.1\r\nHost: [::1]:8080\r\n\r\n",
    "100 fields": head("/livez", *(f"x{n}: y" for n in range(99)), method="GET"),
    "a length twice": head("/livez", "content-length: 0", "content-length: 0", method="GET"),
    "a head of 31 KiB": head("/livez", "x: " + "y" * 31_000, method="GET"),
    "an empty body in chunks": head("/livez", "transfer-encoding: chunked", method="GET")
    + b"0\r\n\r\n",
}


@pytest.mark.parametrize("case", ALLOWED)
async def test_unusual_requests_are_answered(case: str) -> None:
    async with serve_gateway() as served:
        for pieces in ((ALLOWED[case],), (ALLOWED[case][:1], ALLOWED[case][1:])):
            async with Wire.to(served) as wire:
                await wire.send(*pieces)
                assert (await wire.response()).json() == {"live": True}
                await is_alone(wire)


# Each limit at its last byte, by the parser alone


def events(*pieces: bytes) -> list[str]:
    """The kinds of events of a connection that gets these bytes; the last may be a refusal."""
    connection = connections._Connection(lambda: None)
    found: list[str] = []
    for piece in pieces:
        connection.receive_data(piece)
        try:
            while (event := connection.next_event()) not in (h11.NEED_DATA, h11.PAUSED):
                found.append(type(event).__name__)
        except connections._Broken as broken:
            return [*found, broken.problem.slug]
    return [name for name in found if name != "Data"]


def lines(count: int, size: int) -> bytes:
    """A body of so many lines before chunks; the last one is that of the end."""
    return (b"%x\r\n" % size + bytes(size) + b"\r\n") * (count - 1) + b"0\r\n\r\n"


_GET = b"GET /livez HTTP/1.1\r\nHost: gateway\r\n"
_POST = b"POST / HTTP/1.1\r\nHost: gateway\r\nTransfer-Encoding: chunked\r\n\r\n"
LIMITS: dict[str, tuple[Callable[[int], bytes], int, Problem]] = {
    # The empty line at the end of a head does not count.
    "bytes of a head": (
        lambda size: _GET + b"x: " + b"y" * (size - len(_GET) - 3) + b"\r\n\r\n",
        32_768,
        problems.HEADER_TOO_LARGE,
    ),
    "bytes of a request line": (
        lambda size: b"GET /%s HTTP/1.1\r\nHost: a\r\n\r\n" % (b"x" * (size - 16)),
        16_384,
        problems.URI_TOO_LONG,
    ),
    "fields of a head": (
        lambda count: _GET + b"a: b\r\n" * (count - 1) + b"\r\n",
        100,
        problems.HEADER_TOO_LARGE,
    ),
    "fields of a trailer section": (
        lambda count: _POST + b"0\r\n" + b"a: b\r\n" * count + b"\r\n",
        100,
        problems.HEADER_TOO_LARGE,
    ),
    "bytes of a trailer section": (
        lambda size: _POST + b"0\r\na: " + b"b" * (size - 3) + b"\r\n\r\n",
        32_768,
        problems.HEADER_TOO_LARGE,
    ),
    "bytes of the line before a chunk": (
        lambda size: _POST + b"1;" + b"x" * (size - 4) + b"\r\na\r\n0\r\n\r\n",
        1024,
        problems.MALFORMED_REQUEST,
    ),
    # 1,024 lines, and one more for each 128 bytes before them, with the end of each chunk.
    "chunks of one byte": (
        lambda count: _POST + lines(count, 1),
        1048,
        problems.MALFORMED_REQUEST,
    ),
    "chunks of 64 bytes": (
        lambda count: _POST + lines(count, 64),
        2113,
        problems.MALFORMED_REQUEST,
    ),
}


@pytest.mark.parametrize("what", LIMITS)
def test_a_limit_is_kept_to_the_byte_however_the_request_arrives(what: str) -> None:
    request, limit, problem = LIMITS[what]
    good, bad = request(limit), request(limit + 1)
    for step in (1_000_000, 1000, 7):
        pieces = [good[at : at + step] for at in range(0, len(good), step)]
        assert events(*pieces) == ["Request", "EndOfMessage"]
        pieces = [bad[at : at + step] for at in range(0, len(bad), step)]
        assert events(*pieces)[-1] == problem.slug
    for end in range(1, 8):
        assert events(good[:-end], good[-end:]) == ["Request", "EndOfMessage"]


def test_128_bytes_a_chunk_are_enough_for_any_number_of_chunks() -> None:
    assert events(_POST + lines(10_000, 128)) == ["Request", "EndOfMessage"]


async def test_a_request_of_http_1_0_is_answered_and_ends_the_connection(worker_path: Path) -> None:
    async with running(worker_path) as worker, serve_gateway(worker) as served:
        async with Wire.to(served) as wire:
            await wire.send(b"POST /v1/detections HTTP/1.0\r\ncontent-length: 4\r\n")
            await wire.send(f"{OCTETS}\r\n\r\nbody".encode())
            assert (await wire.response()).status == 200
            assert await wire.rest() == b""
        assert worker.of(Operation.DETECT)[0][1] == b"body"


async def test_a_body_reaches_the_application_without_a_copy() -> None:
    received: list[bytes] = []

    async def app(_: Scope, receive: Receive, __: Send) -> None:
        while (message := await receive())["type"] == "http.request":
            received.append(message["body"])

    transport = Mock(asyncio.Transport)
    transport.get_extra_info.return_value = None
    transport.is_closing.return_value = False
    config = Config(app, lifespan="off", log_config=None)
    connection = bounded_protocol(10.0)(config, ServerState(), {})
    connection.connection_made(transport)
    large, *small = [bytes([each]) * 70_000 for each in range(4)]
    connection.data_received(head(DETECT, OCTETS, "content-length: 280010") + b"together")
    await asyncio.sleep(0)
    connection.data_received(large)
    await asyncio.sleep(0)
    for chunk in (*small, b"!!"):
        connection.data_received(chunk)
    await asyncio.sleep(0)
    connection.connection_lost(None)
    await asyncio.gather(*connection.tasks)
    assert received == [b"together", large, b"".join(small) + b"!!"]
    assert received[1] is large


async def test_trailers_and_short_extensions_are_ignored(worker_path: Path) -> None:
    body = b"3;name=value\r\nabc\r\n2\r\nde\r\n0\r\nx-checksum: 1\r\nhost: other\r\n\r\n"
    async with running(worker_path) as worker, serve_gateway(worker) as served:
        async with Wire.to(served) as wire:
            await wire.send(CHUNKS + body)
            assert (await wire.response()).status == 200
            await is_alone(wire)
        assert worker.of(Operation.DETECT)[0][1] == b"abcde"


async def test_a_file_that_is_sent_line_by_line_is_taken(worker_path: Path) -> None:
    """As Python's HTTP clients do with an open file: random lines have 256 bytes on average."""
    body = bytes(range(256)) * 4000
    async with running(worker_path) as worker, serve_gateway(worker) as served:
        async with Wire.to(served) as wire:
            await wire.send(CHUNKS + chunked(body, 200))
            assert (await wire.response()).status == 200
            await is_alone(wire)
        assert worker.of(Operation.DETECT)[0][1] == body


async def test_bytes_after_the_last_request_are_no_request(worker_path: Path) -> None:
    async with running(worker_path) as worker, serve_gateway(worker) as served:
        worker.answers[Operation.DETECT] = slow(0.2)
        last = head(DETECT, OCTETS, "content-length: 4", "connection: close") + b"body"
        for pieces in ((last + HIDDEN,), (last, b"\r\n", HIDDEN)):
            async with Wire.to(served) as wire:
                await wire.send(*pieces)
                assert (await wire.response()).status == 200
                assert await wire.rest() == b""


@pytest.mark.parametrize("method", ["CONNECT", "PRI", "TRACE", "OPTIONS", "QUERY"])
async def test_other_methods_are_refused_with_their_bodies(method: str) -> None:
    target = {"CONNECT": "example.org:443", "OPTIONS": "*"}.get(method, DETECT)
    async with serve_gateway() as served, Wire.to(served) as wire:
        body = f"content-length: {len(HIDDEN)}"
        await wire.send(head(target, body, method=method) + HIDDEN)
        reply = await wire.response()
        is_problem(reply, problems.METHOD_NOT_ALLOWED if target == DETECT else problems.NOT_FOUND)
        await is_alone(wire)


# Time


def slow(seconds: float) -> Handler:
    """An answer of an enclave that takes a while."""

    async def answer(_: RequestHeader, __: bytes) -> tuple[Outcome, bytes]:
        await asyncio.sleep(seconds)
        return Outcome.OK, b"{}"

    return answer


async def test_the_start_of_the_next_request_does_not_end_the_one_in_flight(
    worker_path: Path,
) -> None:
    async with running(worker_path) as worker, serve_gateway(worker, head_timeout=0.3) as served:
        worker.answers[Operation.DETECT] = slow(1.0)
        async with Wire.to(served) as wire:
            await wire.send(head(DETECT, OCTETS, "content-length: 4") + b"body" + LIVE[:10])
            assert (await wire.response()).status == 200
            await wire.send(LIVE[10:])
            assert (await wire.response()).json() == {"live": True}
            await is_alone(wire)


async def test_a_body_may_take_longer_than_a_head(worker_path: Path) -> None:
    async with (
        running(worker_path) as worker,
        serve_gateway(worker, head_timeout=0.3) as served,
        Wire.to(served) as wire,
    ):
        await wire.send(head(DETECT, OCTETS, "content-length: 20"))
        for _ in range(10):
            await asyncio.sleep(0.1)
            await wire.send(b"ab")
        assert (await wire.response()).status == 200


@pytest.mark.parametrize("before", [b"", LIVE], ids=["first", "after another"])
@pytest.mark.parametrize("part", [b"", LIVE[:-3]], ids=["nothing", "a part"])
async def test_a_head_that_does_not_come_closes_the_connection(before: bytes, part: bytes) -> None:
    async with serve_gateway(head_timeout=0.3, keep_alive=1) as served, Wire.to(served) as wire:
        if before:
            await wire.send(before)
            await wire.response()
        await wire.send(part)
        assert await wire.rest() == b""


async def test_a_head_that_trickles_closes_the_connection() -> None:
    async with serve_gateway(head_timeout=0.5) as served, Wire.to(served) as wire:
        closed = asyncio.create_task(wire.rest())
        async with asyncio.timeout(10):
            while not closed.done():
                wire.writer.write(b"x" if wire.writer.transport.is_closing() else b"G")
                await asyncio.sleep(0.05)
        assert await closed == b""


# Clients that end before their request does


@pytest.mark.parametrize(
    "sent",
    [
        head(DETECT, OCTETS, "content-length: 10") + b"body",
        head(DETECT, OCTETS, "content-length: 10"),
        CHUNKS + b"4\r\nbody\r\n",
        CHUNKS + b"4\r\nbo",
        CHUNKS + b"4\r\nbody\r\n0\r\nx: y",
        CHUNKS + b"4\r\nbody\r\n0",
    ],
)
async def test_a_body_that_ends_early_is_an_incomplete_upload(
    worker_path: Path, sent: bytes
) -> None:
    async with running(worker_path) as worker, serve_gateway(worker) as served:
        async with Wire.to(served) as wire:
            await wire.send(sent)
            wire.writer.write_eof()
            is_problem(await wire.response(), problems.UPLOAD_INCOMPLETE)
            assert await wire.rest() == b""
        await served.until(lambda: counted(served, problems.UPLOAD_INCOMPLETE) == 1)
        assert served.app.state.dataplane.held_bytes == 0
        assert not worker.of(Operation.DETECT)
