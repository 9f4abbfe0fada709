"""The pool and its enclaves as gauges: looked at when somebody asks, instead of counted along."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import TYPE_CHECKING

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from gateway.pool.breaker import BreakerState
from gateway.pool.states import ConnectionState, EndpointState

if TYPE_CHECKING:
    from gateway.dataplane import Dataplane
    from gateway.pool import Pool


class PoolGauges(Collector):
    """See the module.

    Args:
        plane: Whose pool and memory to look at.
    """

    def __init__(self, plane: Dataplane) -> None:
        self._plane = plane

    def collect(self) -> Iterator[Metric]:
        """Every gauge as it is now; must run in the pool's event loop."""
        pool = self._plane.pool
        yield from _states(pool)
        yield from _workers(pool)
        yield GaugeMetricFamily(
            "blindgate_queue",
            "Requests that wait for an enclave.",
            value=len(pool.machine.queue),
        )
        yield GaugeMetricFamily(
            "blindgate_queue_limit",
            "Requests that may wait for an enclave; one more is refused.",
            value=pool.machine.limits.queue,
        )
        yield GaugeMetricFamily(
            "blindgate_body_bytes",
            "Bytes of bodies that are in memory, or have their place in it.",
            value=self._plane.held_bytes,
        )
        yield GaugeMetricFamily(
            "blindgate_body_bytes_limit",
            "Bytes of bodies that may be in memory; uploads beyond wait for it.",
            value=self._plane.byte_budget,
        )
        yield GaugeMetricFamily(
            "blindgate_uploads_waiting",
            "Uploads that wait for memory, before they are read.",
            value=self._plane.uploads_waiting,
        )

    def describe(self) -> list[Metric]:
        """Nothing: registering must not look at a pool that has no event loop yet."""
        return []


def _states(pool: Pool) -> Iterator[Metric]:
    endpoints = pool.machine.endpoints
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
        breakers.add_metric([mode.value], sum(e.breaker.state(now) is mode for e in endpoints))
    yield breakers


def _workers(pool: Pool) -> Iterator[Metric]:
    """What the ready enclaves last said of themselves; by address, which is the operator's."""
    busy, queued, threads, credentials, clock = (
        GaugeMetricFamily(f"blindgate_worker_{name}", text, labels=["enclave"])
        for name, text in (
            ("busy", "Threads of an enclave that compute."),
            ("queued", "Requests that wait inside an enclave."),
            ("threads", "Threads that an enclave computes with."),
            ("needs_credentials", "1 while an enclave has no valid credentials for KMS."),
            ("kms_clock_skew", "1 while KMS refuses an enclave's signatures for their time."),
        )
    )
    for keeper in pool.keepers():
        if (status := keeper.status) is not None:
            enclave = [str(keeper.address)]
            busy.add_metric(enclave, status.busy)
            queued.add_metric(enclave, status.queued)
            threads.add_metric(enclave, status.threads)
            credentials.add_metric(enclave, status.needs_credentials)
            clock.add_metric(enclave, status.clock_is_refused)
    yield from (busy, queued, threads, credentials, clock)
