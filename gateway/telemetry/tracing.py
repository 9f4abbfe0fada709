"""OpenTelemetry traces: off unless `OTEL_…` variables name a collector, and silent about content.

A request is one span with its stages below it. What a span may say is listed here: the method,
the template of the path, numbers, and words of ours. Of what a client writes, its `traceparent`
alone is taken, never `tracestate` or `baggage`, whose values are its own; and only the one on
the outer request, for the parent cannot read the other. Nothing is sent on to the enclave.
"""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING, Final

from opentelemetry.context import Context
from opentelemetry.trace import SpanKind, Status, StatusCode, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from blindgate.errors import BlindgateError

if TYPE_CHECKING:
    from opentelemetry.trace import TracerProvider

    from gateway.telemetry.timeline import Timeline

_SERVICE: Final = "blindgate-gateway"
_METHODS: Final = {"GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"}
_PARENT: Final = "traceparent"
#: Seconds for the last spans on their way out.
_LAST_SPANS: Final = 2.0


class TracingUnavailable(BlindgateError):
    """Traces are asked for and cannot be made; the message says what to do."""


class Tracing:
    """Makes spans of requests that are over.

    Args:
        provider: Where they go.
    """

    def __init__(self, provider: TracerProvider) -> None:
        self._provider = provider
        self._tracer = provider.get_tracer("gateway")
        self._propagator = TraceContextTextMapPropagator()

    def record(
        self,
        timeline: Timeline,
        ended: float,
        *,
        method: str,
        route: str | None,
        status: int,
        problem: str | None,
        request_id: str,
        parent: str | None,
    ) -> None:
        """Make the spans of one request.

        Args:
            timeline: Its stages.
            ended: When its answer was sent, on `time.perf_counter`.
            method: Its method.
            route: The template of its path; None if there is none.
            status: Its answer's; 0 if its client went away before.
            problem: The slug of the problem that it was answered with.
            request_id: Ours.
            parent: Its `traceparent` header.
        """
        known = method if method in _METHODS else "_OTHER"
        attributes: dict[str, str | int] = {
            "http.request.method": known,
            "blindgate.request_id": request_id,
        }
        if route is not None:
            attributes["http.route"] = route
        if status:
            attributes["http.response.status_code"] = status
        if problem is not None:
            attributes["blindgate.problem"] = problem
        span = self._tracer.start_span(
            f"{known} {route}" if route else known,
            # Not the current context: whatever else runs here is no parent of this.
            self._propagator.extract({_PARENT: parent} if parent else {}, Context()),
            SpanKind.SERVER,
            attributes,
            start_time=timeline.nanoseconds(timeline.started),
        )
        below = set_span_in_context(span, Context())
        for passage in timeline.passages:
            said = {
                "blindgate.operation": passage.operation,
                "blindgate.enclave": passage.enclave,
                "blindgate.outcome": passage.outcome,
            }
            self._tracer.start_span(
                passage.stage.value,
                below,
                attributes={name: value for name, value in said.items() if value is not None},
                start_time=timeline.nanoseconds(passage.started),
            ).end(timeline.nanoseconds(passage.ended))
        if status >= 500:
            span.set_status(Status(StatusCode.ERROR))
        span.end(timeline.nanoseconds(ended))

    def close(self) -> None:
        """Send what is left and stop; blocks for two seconds at most."""
        # Methods of the SDK's providers; the API has none.
        if (shutdown := getattr(self._provider, "shutdown", None)) is not None:
            # A collector that is away is tried for half a minute; a gateway that ends is not.
            last = threading.Thread(target=shutdown, name="last spans", daemon=True)
            last.start()
            last.join(_LAST_SPANS)


def tracing_from_environment() -> Tracing | None:
    """Tracing as OpenTelemetry's own variables want it.

    `OTEL_EXPORTER_OTLP_ENDPOINT` or `OTEL_EXPORTER_OTLP_TRACES_ENDPOINT` turns it on;
    `OTEL_SDK_DISABLED=true` and `OTEL_TRACES_EXPORTER=none` turn it off. The sampler, headers,
    certificates and resource attributes follow their variables too; OTLP goes over HTTP.

    Returns:
        None if it is off.

    Raises:
        TracingUnavailable: It is on, and the extra `tracing` is not installed; or the variables
            ask for another exporter or protocol.
    """
    environment = os.environ
    exporter = environment.get("OTEL_TRACES_EXPORTER") or "otlp"
    endpoints = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
    if (
        not any(environment.get(name) for name in endpoints)
        or environment.get("OTEL_SDK_DISABLED", "").lower() == "true"
        or exporter == "none"
    ):
        return None
    if exporter != "otlp":
        raise TracingUnavailable(
            f"OTEL_TRACES_EXPORTER is {exporter}: only otlp and none are known"
        )
    protocol = (
        environment.get("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL")
        or environment.get("OTEL_EXPORTER_OTLP_PROTOCOL")
        or "http/protobuf"
    )
    if protocol != "http/protobuf":
        raise TracingUnavailable(
            f"OTEL_EXPORTER_OTLP_PROTOCOL is {protocol}: only http/protobuf is known"
        )
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider as Provider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError:
        raise TracingUnavailable(
            "OTEL_… variables ask for traces: install locks/gateway.txt, or set "
            "OTEL_TRACES_EXPORTER=none"
        ) from None
    name = environment.get("OTEL_SERVICE_NAME") or _SERVICE
    # Never made the process's own provider: libraries that look for one, FastAPI among them,
    # would write paths and queries into spans of theirs.
    provider = Provider(resource=Resource.create({"service.name": name}), shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return Tracing(provider)
