"""What a gateway can count without knowing anything about content.

Names and labels are fixed; no label takes a value that a client chooses.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.gc_collector import GCCollector
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

from gateway.pool.breaker import BreakerState
from gateway.pool.states import ConnectionState, EndpointState

if TYPE_CHECKING:
    from gateway.dataplane import Dataplane

#: From a refusal to the longest deadline; an image takes 20 to 500 ms.
_SECONDS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 120)
#: A scrape that does not send its request within this time is gone.
_PATIENCE: Final = 5.0
_MAX_REQUEST: Final = 8 * 1024


@dataclass(slots=True)
class Stages:
    """Seconds that the stages of one request took; None for those that it did not reach.

    Attributes:
        upload: Receiving the body.
        enclave: From the whole body to the enclave's answer.
    """

    upload: float | None = None
    enclave: float | None = None


class Metrics:
    """Everything that is counted in one gateway process.

    Args:
        plane: Whose pool and memory are looked at when somebody asks.
    """

    def __init__(self, plane: Dataplane) -> None:
        self.registry = CollectorRegistry()
        self._requests = Counter(
            "blindgate_requests",
            "Requests, by route, status and problem (empty where there was none).",
            ("route", "status", "problem"),
            registry=self.registry,
        )
        self._seconds = Histogram(
            "blindgate_request_seconds",
            "From the arrival of a request's headers to the end of its answer.",
            ("route",),
            buckets=_SECONDS,
            registry=self.registry,
        )
        self._upload_seconds = Histogram(
            "blindgate_upload_seconds",
            "Receiving a body from a client.",
            buckets=_SECONDS,
            registry=self.registry,
        )
        self._enclave_seconds = Histogram(
            "blindgate_enclave_seconds",
            "From a whole body to the enclave's answer, the wait in the queue included.",
            ("route",),
            buckets=_SECONDS,
            registry=self.registry,
        )
        self.registry.register(_PoolCollector(plane))
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        GCCollector(registry=self.registry)

    def answered(
        self,
        route: str,
        status: int,
        problem: str | None,
        seconds: float,
        stages: Stages,
    ) -> None:
        """A request is over.

        Args:
            route: The template of its path.
            status: The answer's; 0 if its client went away before.
            problem: The slug of the problem that it was answered with.
            seconds: From its headers to the end of the answer.
            stages: The parts of it that were seen.
        """
        self._requests.labels(route, str(status), problem or "").inc()
        self._seconds.labels(route).observe(seconds)
        if stages.upload is not None:
            self._upload_seconds.observe(stages.upload)
        if stages.enclave is not None:
            self._enclave_seconds.labels(route).observe(stages.enclave)


class _PoolCollector(Collector):
    """Looks at the pool when somebody asks, instead of counting along."""

    def __init__(self, plane: Dataplane) -> None:
        self._plane = plane

    def collect(self) -> Iterator[Metric]:
        endpoints = self._plane.pool.machine.endpoints
        now = asyncio.get_running_loop().time()
        enclaves = GaugeMetricFamily("blindgate_enclaves", "Enclaves by state.", labels=["state"])
        for state in EndpointState:
            enclaves.add_metric([state.value], sum(e.state is state for e in endpoints))
        yield enclaves
        connections = GaugeMetricFamily(
            "blindgate_connections", "Connections to enclaves by state.", labels=["state"]
        )
        for kind in ConnectionState:
            if kind is not ConnectionState.CLOSED:
                connections.add_metric([kind.value], sum(e.count(kind) for e in endpoints))
        yield connections
        breakers = GaugeMetricFamily(
            "blindgate_breakers", "Enclaves by the state of their breaker.", labels=["state"]
        )
        for mode in BreakerState:
            count = sum(e.breaker.state(now) is mode for e in endpoints)
            breakers.add_metric([mode.value], count)
        yield breakers
        yield GaugeMetricFamily(
            "blindgate_queue",
            "Requests that wait for an enclave.",
            value=len(self._plane.pool.machine.queue),
        )
        yield GaugeMetricFamily(
            "blindgate_body_bytes",
            "Bytes of bodies that are in memory, or have their place in it.",
            value=self._plane.held_bytes,
        )

    def describe(self) -> list[Metric]:
        """Nothing: registering must not look at a pool that has no event loop yet."""
        return []


@asynccontextmanager
async def served(metrics: Metrics, host: str, port: int) -> AsyncIterator[int]:
    """Answer `GET /metrics` on a port of its own, which clients need not reach.

    Yields:
        The port, as 0 takes a free one.
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

    server = await asyncio.start_server(scrape, host, port, limit=_MAX_REQUEST)
    try:
        bound: int = server.sockets[0].getsockname()[1]
        yield bound
    finally:
        server.close()


def _scraped(metrics: Metrics, request_line: bytes) -> bytes:
    if request_line.split(b" ")[:2] != [b"GET", b"/metrics"]:
        status, kind, body = "404 Not Found", "text/plain", b"see /metrics\n"
    else:
        status, kind, body = "200 OK", CONTENT_TYPE_LATEST, generate_latest(metrics.registry)
    head = (
        f"HTTP/1.1 {status}\r\ncontent-type: {kind}\r\ncontent-length: {len(body)}\r\n"
        "connection: close\r\n\r\n"
    )
    return head.encode() + body
