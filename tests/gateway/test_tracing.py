"""Traces: useful, off by default, and silent about content."""

from __future__ import annotations

import gzip
import logging
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from blindgate.link import Operation, Outcome, RequestHeader
from gateway.telemetry.timeline import Timeline
from gateway.telemetry.tracing import Tracing, TracingUnavailable, tracing_from_environment
from tests.gateway.conftest import OCTETS, serve_gateway
from tests.gateway.fake_worker import running

URL = "/v1/detections"
CANARY = "hush"
TRACE_ID, SPAN_ID = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
PARENT = f"00-{TRACE_ID}-{SPAN_ID}-01"
COLLECTOR = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4318"}


class Spans:
    """Everything that would have left the process."""

    def __init__(self) -> None:
        self._exporter = InMemorySpanExporter()
        provider = TracerProvider(shutdown_on_exit=False)
        provider.add_span_processor(SimpleSpanProcessor(self._exporter))
        self.tracing = Tracing(provider)

    def all(self) -> tuple[ReadableSpan, ...]:
        return self._exporter.get_finished_spans()

    def requests(self) -> list[ReadableSpan]:
        return [span for span in self.all() if span.kind is SpanKind.SERVER]

    def below(self, parent: ReadableSpan) -> dict[str, ReadableSpan]:
        return {
            span.name: span
            for span in self.all()
            if span.parent and span.parent.span_id == parent.context.span_id
        }


@pytest.fixture
def spans() -> Iterator[Spans]:
    made = Spans()
    yield made
    made.tracing.close()


def attributes(span: ReadableSpan) -> dict[str, Any]:
    return dict(span.attributes or {})


@pytest.mark.anyio
async def test_a_request_is_a_span_with_its_stages_below(worker_path: Path, spans: Spans) -> None:
    async with (
        running(worker_path) as worker,
        serve_gateway(worker, tracing=spans.tracing) as served,
    ):
        headers = {**OCTETS, "traceparent": PARENT}
        answer = await served.http.post(URL, content=b"envelope", headers=headers)
        (sent,) = worker.of(Operation.DETECT)
        # The response may overtake the end of the request's span.
        await served.until(lambda: bool(spans.requests()))
    (request,) = spans.requests()
    assert request.name == f"POST {URL}"
    assert attributes(request) == {
        "http.request.method": "POST",
        "http.route": URL,
        "http.response.status_code": 200,
        "blindgate.request_id": answer.headers["x-request-id"],
    }
    assert request.parent is not None
    assert (
        f"{request.parent.trace_id:032x}-{request.parent.span_id:016x}" == f"{TRACE_ID}-{SPAN_ID}"
    )
    stages = spans.below(request)
    assert list(stages) == ["upload", "queue", "exchange"]
    assert attributes(stages["exchange"]) == {
        "blindgate.operation": "detect",
        "blindgate.enclave": str(worker.address),
        "blindgate.outcome": "ok",
    }
    times = [moment for span in stages.values() for moment in (span.start_time, span.end_time)]
    assert times == sorted(times, key=lambda moment: moment or 0)
    assert request.start_time is not None
    assert request.end_time is not None
    assert all(request.start_time <= (moment or 0) <= request.end_time for moment in times)
    assert TRACE_ID not in str(sent), "the client's trace ends at the gateway"


@pytest.mark.anyio
async def test_spans_say_nothing_that_a_client_wrote(worker_path: Path, spans: Spans) -> None:
    async def refuse(header: RequestHeader, body: bytes) -> tuple[Outcome, bytes]:
        return Outcome.ENVELOPE_REJECTED, CANARY.encode()

    headers = {
        **OCTETS,
        "traceparent": PARENT,
        "tracestate": f"{CANARY}={CANARY}",
        "baggage": f"{CANARY}={CANARY}",
        "authorization": f"Bearer {CANARY}",
        "user-agent": CANARY,
        "x-request-id": CANARY,
        CANARY: CANARY,
    }
    async with (
        running(worker_path) as worker,
        serve_gateway(worker, tracing=spans.tracing) as served,
    ):
        http = served.http
        await http.post(f"{URL}?classes={CANARY}", content=CANARY.encode(), headers=headers)
        worker.answers[Operation.DETECT] = refuse
        await http.post(URL, content=CANARY.encode(), headers=headers)
        await http.get(f"/v1/attestation?nonce={CANARY}", headers=headers)
        await http.get(f"/v2/models/{CANARY}", headers=headers)
        await http.request("PROPFIND", f"/{CANARY}?{CANARY}", headers=headers)
        await http.post(URL, content=b"x", headers={**OCTETS, "traceparent": CANARY})
        await served.until(lambda: len(spans.requests()) == 6)
    assert "GET /v2/models/{model_name}" in [span.name for span in spans.requests()]
    for span in spans.all():
        assert CANARY not in span.to_json().lower()
        assert not span.events, "an exception's text may hold anything"
        context = span.get_span_context()
        assert context is not None
        assert not context.trace_state


@pytest.mark.anyio
async def test_a_failure_is_told_by_its_problem(worker_path: Path, spans: Spans) -> None:
    async with serve_gateway(tracing=spans.tracing) as served:
        await served.http.post(URL, content=b"x", headers=OCTETS)
        await served.until(lambda: bool(spans.requests()))
    (request,) = spans.requests()
    assert attributes(request)["blindgate.problem"] == "enclave-unavailable"
    assert attributes(request)["http.response.status_code"] == 503
    assert request.status.status_code is StatusCode.ERROR
    assert request.parent is None


@pytest.mark.anyio
async def test_fastapis_own_telemetry_is_off(worker_path: Path) -> None:
    """It writes paths, queries and exceptions' texts wherever the process has a provider."""
    async with serve_gateway() as served:
        assert not served.app._native_telemetry.enabled()
        for signal in ("tracing", "metrics", "logs", "auto_configure"):
            assert served.app._telemetry[signal] is False


Telling = Callable[..., None]


@pytest.fixture
def tell(monkeypatch: pytest.MonkeyPatch) -> Telling:
    """Sets variables; none of this machine's own are left."""
    for name in list(os.environ):
        if name.startswith("OTEL_"):
            monkeypatch.delenv(name)

    def set_all(**variables: str) -> None:
        for name, value in variables.items():
            monkeypatch.setenv(name, value)

    return set_all


@pytest.mark.parametrize(
    "variables",
    [
        {},
        {"OTEL_SERVICE_NAME": "x"},
        {**COLLECTOR, "OTEL_SDK_DISABLED": "true"},
        {**COLLECTOR, "OTEL_TRACES_EXPORTER": "none"},
    ],
)
def test_tracing_is_off_unless_a_collector_is_named(
    tell: Telling, variables: dict[str, str]
) -> None:
    tell(**variables)
    assert tracing_from_environment() is None


@pytest.mark.parametrize(
    "variables", [{"OTEL_TRACES_EXPORTER": "console"}, {"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}]
)
def test_what_cannot_be_done_is_said_at_the_start(tell: Telling, variables: dict[str, str]) -> None:
    tell(**COLLECTOR, **variables)
    with pytest.raises(TracingUnavailable, match=next(iter(variables))):
        tracing_from_environment()


def test_without_the_extra_it_says_what_to_install(
    tell: Telling, monkeypatch: pytest.MonkeyPatch
) -> None:
    tell(**COLLECTOR)
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.resources", None)
    with pytest.raises(TracingUnavailable, match=r"locks/gateway\.txt"):
        tracing_from_environment()


@pytest.fixture
def collector() -> Iterator[tuple[str, list[ExportTraceServiceRequest]]]:
    """An OpenTelemetry collector that speaks OTLP over HTTP, and what it got."""
    got: list[ExportTraceServiceRequest] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            if self.headers.get("content-encoding") == "gzip":
                body = gzip.decompress(body)
            assert self.path == "/v1/traces"
            got.append(ExportTraceServiceRequest.FromString(body))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}", got
        server.shutdown()
        thread.join()


@pytest.mark.anyio
async def test_spans_reach_a_collector_before_the_gateway_ends(
    tell: Telling, collector: tuple[str, list[ExportTraceServiceRequest]], worker_path: Path
) -> None:
    address, got = collector
    before = trace.get_tracer_provider()
    tell(OTEL_EXPORTER_OTLP_ENDPOINT=address, NO_PROXY="127.0.0.1")
    async with running(worker_path) as worker, serve_gateway(worker) as served:
        await served.http.post(URL, content=b"x", headers=OCTETS)
    assert trace.get_tracer_provider() is before, "it is for us alone, not for libraries"
    (resource,) = (resource for export in got for resource in export.resource_spans)
    names = {each.key: each.value.string_value for each in resource.resource.attributes}
    assert names["service.name"] == "blindgate-gateway"
    sent = [span.name for scope in resource.scope_spans for span in scope.spans]
    assert sorted(sent) == [f"POST {URL}", "exchange", "queue", "upload"]


def test_a_collector_that_is_away_is_only_a_line_in_the_log(
    tell: Telling, caplog: pytest.LogCaptureFixture, unused_port: int
) -> None:
    caplog.set_level(logging.CRITICAL)
    tell(OTEL_EXPORTER_OTLP_ENDPOINT=f"http://127.0.0.1:{unused_port}")
    tracing = tracing_from_environment()
    assert tracing is not None
    tracing.record(
        Timeline(),
        0.0,
        method="GET",
        route=None,
        status=404,
        problem=None,
        request_id="00",
        parent=None,
    )
    started = time.monotonic()
    tracing.close()
    assert time.monotonic() - started < 10
