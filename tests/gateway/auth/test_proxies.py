"""Whose address counts behind a load balancer: rate limits, the audit log, and forged headers."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from blindgate import problems
from tests.gateway.conftest import OCTETS, Served, serve_gateway
from tests.gateway.fake_worker import running

pytestmark = pytest.mark.anyio
URL = "/v1/detections"


async def status(served: Served, *forwarded: str) -> int:
    """Post as a proxy at 127.0.0.1 would, with these X-Forwarded-For headers."""
    headers = [*OCTETS.items(), *(("x-forwarded-for", each) for each in forwarded)]
    return (await served.http.post(URL, content=b"x", headers=headers)).status_code


def callers(path: Path) -> list[str]:
    return [json.loads(line)["caller"] for line in path.read_bytes().splitlines()]


@pytest.mark.parametrize("trusted", ["127.0.0.1", "192.0.2.0/24,127.0.0.0/8"])
async def test_clients_behind_a_trusted_proxy_have_limits_of_their_own(
    worker_path: Path, tmp_path: Path, trusted: str
) -> None:
    log = tmp_path / "audit"
    async with (
        running(worker_path) as worker,
        serve_gateway(
            worker, rate_limit="1/hour", trusted_proxies=trusted, audit_log=log
        ) as served,
    ):
        for client in ("203.0.113.1", "203.0.113.2", "2001:db8::1"):
            assert await status(served, client) == 200
            assert await status(served, client) == problems.RATE_LIMITED.status
        assert await status(served) == 200
    # Refusals are counted, and written at the end.
    clients = ["203.0.113.1", "203.0.113.2", "2001:db8::1"]
    assert [each.partition(":")[2] for each in callers(log)] == [*clients, "127.0.0.1", *clients]


async def test_what_a_client_writes_before_the_proxy_has_no_effect(worker_path: Path) -> None:
    async with (
        running(worker_path) as worker,
        serve_gateway(worker, rate_limit="1/hour", trusted_proxies="127.0.0.1") as served,
    ):
        assert await status(served, "203.0.113.1") == 200
        for forged in (["198.51.100.7, 203.0.113.1"], ["198.51.100.8", "203.0.113.1"]):
            assert await status(served, *forged) == problems.RATE_LIMITED.status
        # Two proxies in a row: the address that the outer one saw.
        assert await status(served, "203.0.113.1, 127.0.0.1") == problems.RATE_LIMITED.status


@pytest.mark.parametrize("trusted", ["", "10.0.0.0/8", "127.0.0.2"])
async def test_from_an_untrusted_peer_the_header_has_no_effect(
    worker_path: Path, tmp_path: Path, trusted: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # uvicorn reads this variable where it is given nothing.
    monkeypatch.setenv("FORWARDED_ALLOW_IPS", "*")
    log = tmp_path / "audit"
    async with (
        running(worker_path) as worker,
        serve_gateway(
            worker, rate_limit="1/hour", trusted_proxies=trusted, audit_log=log
        ) as served,
    ):
        assert await status(served, "203.0.113.1") == 200
        assert await status(served, "203.0.113.2") == problems.RATE_LIMITED.status
    assert {each.partition(":")[2] for each in callers(log)} == {"127.0.0.1"}
