"""Rate limits that several gateways share through Redis, with a real one."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from blindgate import problems
from gateway.auth import rates as rates_module
from gateway.auth.caller import EVERYBODY, Caller
from gateway.auth.rates import RateLimits
from gateway.auth.shared_counters import CountersUnavailable, SharedCounters
from gateway.http.problem_responses import Refused
from gateway.settings import Settings
from tests.gateway.conftest import OCTETS, serve_gateway
from tests.gateway.fake_worker import running

pytestmark = pytest.mark.anyio
URL = "/v1/detections"


@contextmanager
def redis_at(socket: Path) -> Iterator[None]:
    """A Redis that keeps nothing and listens at a Unix socket only."""
    server = shutil.which("redis-server")
    if server is None:
        pytest.skip("redis-server is not installed (Debian: apt-get install redis-server)")
    command = [server, "--port", "0", "--unixsocket", str(socket), "--save", ""]
    process = subprocess.Popen(
        [*command, "--dir", str(socket.parent)],
        stdout=subprocess.DEVNULL,
        stdin=subprocess.DEVNULL,
    )
    try:
        ends = time.monotonic() + 10
        while not socket.exists():
            assert process.poll() is None
            assert time.monotonic() < ends
            time.sleep(0.01)
        yield
    finally:
        process.terminate()
        process.wait()


@pytest.fixture
def socket(tmp_path: Path) -> Path:
    return tmp_path / "redis"


async def test_gateways_that_share_a_redis_count_together(socket: Path, worker_path: Path) -> None:
    settings: dict[str, Any] = {"rate_limit": "3/hour", "rate_limit_storage": f"unix://{socket}"}
    with redis_at(socket):
        async with (
            running(worker_path) as worker,
            serve_gateway(worker, **settings) as one,
            serve_gateway(worker, **settings) as other,
        ):
            for served, left in ((one, 2), (other, 1), (one, 0)):
                answer = await served.http.post(URL, content=b"x", headers=OCTETS)
                assert answer.status_code == 200
                assert answer.headers["ratelimit"].startswith(f'"caller";r={left};t=')
            for served in (one, other):
                answer = await served.http.post(URL, content=b"x", headers=OCTETS)
                assert answer.status_code == 429
                assert answer.json()["type"] == problems.RATE_LIMITED.type
                assert answer.headers["ratelimit-policy"] == '"caller";q=3;w=3600'
                assert 0 < int(answer.headers["retry-after"]) <= 3600


async def test_without_its_redis_a_gateway_counts_by_itself_and_comes_back(
    socket: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(rates_module, "_ALONE", 0.0)
    rates = RateLimits("2/hour", SharedCounters(f"unix://{socket}"))
    caller = Caller("api-key", "somebody", EVERYBODY)
    try:
        with redis_at(socket):
            assert (await rates.take(caller)).remaining == 1
        for left in (1, 0):
            assert (await rates.take(caller)).remaining == left
        with pytest.raises(Refused):
            await rates.take(caller)
        assert "rates are not shared" in caplog.messages
        with redis_at(socket):
            assert (await rates.take(caller)).remaining == 1
    finally:
        await rates.close()


async def test_a_redis_that_failed_is_left_alone_for_a_moment(
    socket: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rates = RateLimits("9/hour", SharedCounters(f"unix://{socket}"))
    for _ in range(3):
        await rates.take(Caller("api-key", "somebody", EVERYBODY))
    await rates.close()
    assert caplog.messages.count("rates are not shared") == 1


async def test_the_url_is_never_shown() -> None:
    url = "rediss://:hush@redis.example:6379/0"
    settings = Settings(rate_limit="1/hour", rate_limit_storage=SecretStr(url))
    assert "hush" not in repr(settings)
    assert "hush" not in repr(SharedCounters(url))
    with pytest.raises(CountersUnavailable) as caught:
        SharedCounters("gopher://:hush@redis.example")
    assert "hush" not in str(caught.value)


async def test_redis_is_asked_over_32_connections_and_for_a_quarter_of_a_second() -> None:
    counters = SharedCounters("redis://localhost:6379/0")
    connections = vars(counters)["_pool"]
    assert (connections.max_connections, connections.timeout) == (32, 0.25)
    given = connections.connection_kwargs
    assert (given["socket_timeout"], given["socket_connect_timeout"]) == (0.25, 0.25)
    await counters.close()


async def test_counts_without_a_limit_are_a_mistake() -> None:
    with pytest.raises(ValueError, match="counts nothing"):
        Settings(rate_limit_storage=SecretStr("redis://localhost"))


async def test_without_the_extra_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "redis.asyncio", None)
    with pytest.raises(CountersUnavailable, match=r"locks/gateway\.txt"):
        SharedCounters("redis://localhost")
