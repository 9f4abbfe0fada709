"""What a gateway can count without knowing anything about content.

Names and labels are fixed; no label takes a value that a client chooses.
"""

from __future__ import annotations

import asyncio
import json
import os
import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import cache
from typing import TYPE_CHECKING, Final

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.gc_collector import GCCollector
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector

from blindgate import problems
from blindgate.errors import BlindgateError
from blindgate.link.frames import REQUEST_ID_BYTES
from gateway.telemetry.pool_gauges import PoolGauges
from gateway.telemetry.timeline import Stage, Timeline

if TYPE_CHECKING:
    from gateway.dataplane import Dataplane

#: From a refusal to the longest deadline; an image takes 20 to 500 ms.
_SECONDS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 120)
#: A scrape that does not send its request within this time is gone.
_PATIENCE: Final = 5.0
_MAX_REQUEST: Final = 8 * 1024


class Metrics:
    """Everything that is counted in one gateway process.

    Args:
        plane: Whose pool and memory are looked at when somebody asks.
    """

    def __init__(self, plane: Dataplane) -> None:
        self.registry = CollectorRegistry()
        self._before_reading: list[Callable[[], None]] = []
        requests = Counter(
            "blindgate_requests",
            "Requests, by route, status and problem (empty where there was none).",
            ("route", "status", "problem"),
            registry=self.registry,
        )
        seconds = Histogram(
            "blindgate_request_seconds",
            "From the arrival of a request's headers to the end of its answer.",
            ("route",),
            buckets=_SECONDS,
            registry=self.registry,
        )
        stages = Histogram(
            "blindgate_stage_seconds",
            "A stage of a request: receiving its body, waiting for an enclave, being answered.",
            ("route", "stage"),
            buckets=_SECONDS,
            registry=self.registry,
        )
        answers = Counter(
            "blindgate_enclave_answers",
            "What enclaves answered by operation and outcome; lost where the link broke before an "
            "answer, cancelled where the client left.",
            ("operation", "outcome"),
            registry=self.registry,
        )
        # Finding the series of some labels takes longer than counting in it, and there are few.
        self._requests = cache(requests.labels)
        self._seconds = cache(seconds.labels)
        self._stages = cache(stages.labels)
        self._answers = cache(answers.labels)
        self.registry.register(PoolGauges(plane))
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        GCCollector(registry=self.registry)

    def before_reading(self, bring_up_to_date: Callable[[], None]) -> None:
        """Register a callback that counts what is not counted yet, for `text`."""
        self._before_reading.append(bring_up_to_date)

    def text(self) -> bytes:
        """All metrics in Prometheus's text format, complete up to now.

        The callbacks of `before_reading` run here and not in a collector: to collect changes
        nothing. Must run in the pool's event loop.
        """
        for bring_up_to_date in self._before_reading:
            bring_up_to_date()
        return generate_latest(self.registry)

    def answered(
        self,
        route: str,
        status: int,
        problem: str | None,
        seconds: float,
        timeline: Timeline,
    ) -> None:
        """A request is over.

        Args:
            route: The template of its path.
            status: The answer's; 0 if its client went away before.
            problem: The slug of the problem that it was answered with.
            seconds: From its headers to the end of the answer.
            timeline: Its stages.
        """
        self._requests(route, str(status), problem or "").inc()
        self._seconds(route).observe(seconds)
        for passage in timeline.passages:
            self._stages(route, passage.stage.value).observe(passage.seconds)
            if passage.stage is Stage.EXCHANGE:
                self._answers(passage.operation, passage.outcome).inc()


class MetricsPortTaken(BlindgateError):
    """The metrics cannot be served where the settings say."""

    def __init__(self, host: str, port: int, error: OSError) -> None:
        # asyncio's own text repeats the address, and is the only one of some of its errors.
        reason = os.strerror(error.errno).lower() if error.errno else str(error)
        super().__init__(
            f"cannot listen at {host}:{port} for metrics: {reason}. Choose another --metrics-port "
            f"or --metrics-host (ss -tlnp shows what listens)"
        )


@asynccontextmanager
async def served(metrics: Metrics, host: str, port: int) -> AsyncIterator[int]:
    """Answer `GET /metrics` on a port of its own, which clients need not reach.

    Yields:
        The port, as 0 takes a free one.

    Raises:
        MetricsPortTaken: Nothing can listen there.
    """

    async def scrape(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(_PATIENCE):
                request = await reader.readuntil(b"\r\n\r\n")
                writer.write(_scraped(metrics, request.split(b"\r\n", 1)[0]))
                await writer.drain()
        except (TimeoutError, OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            return
        finally:
            writer.close()

    try:
        server = await asyncio.start_server(scrape, host, port, limit=_MAX_REQUEST)
    except OSError as error:
        raise MetricsPortTaken(host, port, error) from None
    try:
        bound: int = server.sockets[0].getsockname()[1]
        yield bound
    finally:
        server.close()


def _scraped(metrics: Metrics, request_line: bytes) -> bytes:
    method, path = [*request_line.split(b" "), b""][:2]
    if method not in (b"GET", b"HEAD") or path.partition(b"?")[0] != b"/metrics":
        status, kind = "404 Not Found", problems.MEDIA_TYPE
        request_id = secrets.token_hex(REQUEST_ID_BYTES)
        problem = problems.NOT_FOUND.body("This port has GET /metrics.", request_id=request_id)
        body = json.dumps(problem).encode()
    else:
        status, kind, body = "200 OK", CONTENT_TYPE_LATEST, metrics.text()
    head = (
        f"HTTP/1.1 {status}\r\ncontent-type: {kind}\r\ncontent-length: {len(body)}\r\n"
        "connection: close\r\n\r\n"
    )
    return head.encode() + (b"" if method == b"HEAD" else body)
