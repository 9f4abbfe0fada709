"""The pool as gauges, by itself: every state has a series, and its number is right."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from blindgate.link import UnixAddress
from gateway.pool import PoolLimits, Status
from gateway.pool.machine import Machine
from gateway.pool.states import Waiter
from gateway.telemetry.pool_gauges import PoolGauges

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def gauges(machine: Machine, *keepers: Any) -> dict[str, float]:
    pool = SimpleNamespace(machine=machine, keepers=lambda: list(keepers))
    plane = SimpleNamespace(pool=pool, held_bytes=7, byte_budget=70, uploads_waiting=3)
    collector = PoolGauges(cast("Any", plane))
    assert collector.describe() == []
    return {
        sample.name + "".join(f"[{value}]" for value in sample.labels.values()): sample.value
        for metric in collector.collect()
        for sample in metric.samples
    }


def machine() -> Machine:
    return Machine(PoolLimits(queue=9, connections=4, warm=0), lambda: 1.0)


async def test_without_enclaves_every_series_is_there_and_zero() -> None:
    seen = gauges(machine())
    assert seen == {
        **{f"blindgate_enclaves[{s}]": 0 for s in
           ("joining", "verifying", "ready", "draining", "out")},
        **{f"blindgate_connections[{s}]": 0 for s in ("connecting", "idle", "busy")},
        **{f"blindgate_breakers[{s}]": 0 for s in ("closed", "open", "half-open")},
        "blindgate_queue": 0,
        "blindgate_queue_limit": 9,
        "blindgate_body_bytes": 7,
        "blindgate_body_bytes_limit": 70,
        "blindgate_uploads_waiting": 3,
    }  # fmt: skip


async def test_enclaves_connections_and_breakers_are_counted_by_their_state() -> None:
    pool = machine()
    ready = pool.join(UnixAddress("/ready"))
    pool.verifying(ready)
    pool.ready(ready, connections=4, key_ids=())
    for _ in range(3):
        pool.submit(Waiter(1e9), 0)
    first, second, _third = pool.assign(0).open
    pool.opened(first, 0)
    pool.opened(second, 0)
    ((_, busy), _other) = pool.assign(0).give
    pool.released(busy, 0, reusable=True, healthy=True)
    pool.drain(pool.join(UnixAddress("/joining")))
    lost = pool.join(UnixAddress("/lost"))
    pool.lost(lost, 1e9)
    seen = gauges(pool)
    assert seen["blindgate_enclaves[ready]"] == 1
    assert seen["blindgate_enclaves[joining]"] == 1
    assert seen["blindgate_enclaves[out]"] == 1
    assert seen["blindgate_connections[connecting]"] == 1
    assert seen["blindgate_connections[idle]"] == 1
    assert seen["blindgate_connections[busy]"] == 1
    assert seen["blindgate_breakers[closed]"] == 2
    assert seen["blindgate_breakers[open]"] == 1
    assert seen["blindgate_queue"] == 1


async def test_what_ready_enclaves_say_is_shown_by_their_address() -> None:
    one = SimpleNamespace(
        address=UnixAddress("/one"),
        status=Status(ready=True, busy=2, queued=5, threads=4, needs_credentials=True),
    )
    late = SimpleNamespace(
        address=UnixAddress("/late"), status=Status(ready=True, kms_clock="behind")
    )
    silent = SimpleNamespace(address=UnixAddress("/silent"), status=None)
    seen = gauges(machine(), one, silent, late)
    assert seen["blindgate_worker_kms_clock_skew[unix:///late]"] == 1
    assert {name: value for name, value in seen.items() if "worker" in name and "one" in name} == {
        "blindgate_worker_busy[unix:///one]": 2,
        "blindgate_worker_queued[unix:///one]": 5,
        "blindgate_worker_threads[unix:///one]": 4,
        "blindgate_worker_needs_credentials[unix:///one]": 1,
        "blindgate_worker_kms_clock_skew[unix:///one]": 0,
    }
