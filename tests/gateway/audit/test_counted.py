"""Requests without a line of their own: counted by the minute, in a bounded table."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from gateway.audit.chain import verify
from gateway.audit.counted import MOST, CountedRequests, acts
from gateway.audit.log import AuditLog
from gateway.auth.caller import Caller, Scope

KEY = Caller("api-key", "0123456789abcdef", frozenset({Scope.DETECT}))


class Clock:
    now = 600.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "audit.jsonl"


@pytest.fixture
def counted(path: Path, clock: Clock) -> CountedRequests:
    return CountedRequests(AuditLog(path), clock)


def records(path: Path) -> list[dict[str, Any]]:
    lines = path.read_bytes().splitlines(keepends=True)
    verify(lines)
    return [json.loads(line) for line in lines]


def sums(path: Path) -> list[tuple[Any, Any, Any]]:
    return [(each["caller"], each["address"], each["requests"]) for each in records(path)]


def test_a_minute_is_one_line_for_each_network(
    counted: CountedRequests, path: Path, clock: Clock
) -> None:
    for number in range(1000):
        counted.count(None, "203.0.113.7", "unauthorized")
        counted.count(None, f"2001:db8::{number:x}", "not-found")
    clock.now += 59.9
    counted.count(None, "203.0.113.7", "ok")
    counted.write_due()
    assert not records(path)
    clock.now += 0.1
    counted.count(None, "203.0.113.7", "unauthorized")
    assert sums(path) == [
        (None, "203.0.113.7", {"ok": 1, "unauthorized": 1000}),
        (None, "2001:db8::/64", {"not-found": 1000}),
    ]
    assert {each["since"] for each in records(path)} == {"1970-01-01T00:10:00+00:00"}
    clock.now += 60
    counted.write_due()
    assert sums(path)[2:] == [(None, "203.0.113.7", {"unauthorized": 1})]
    counted.write_due()
    assert len(records(path)) == 3


def test_a_caller_that_is_refused_is_counted_by_its_name(
    counted: CountedRequests, path: Path
) -> None:
    counted.count(KEY, "203.0.113.7", "rate-limited")
    counted.count(KEY, "203.0.113.8", "rate-limited")
    counted.write()
    assert sums(path) == [("api-key:0123456789abcdef", None, {"rate-limited": 2})]


@pytest.mark.parametrize(
    ("caller", "operation", "outcome", "reached", "alone"),
    [
        (None, "detect", "unauthorized", False, False),
        (None, None, "not-found", False, False),
        (KEY, "detect", "rate-limited", False, False),
        (KEY, "detect", "body-too-large", False, False),
        (KEY, "detect", "not-answered", False, False),
        (KEY, "getOhttpKeys", "ok", False, False),
        (KEY, None, "not-found", False, False),
        (KEY, "listEnclaves", "forbidden", False, False),
        (KEY, "listEnclaves", "ok", False, True),
        (KEY, "detect", "ok", True, True),
        (KEY, "infer", "envelope-rejected", True, True),
        (KEY, "sendSealed", "not-answered", True, True),
        (KEY, "getAttestation", "ok", True, True),
    ],
)
def test_what_reached_an_enclave_has_a_line_of_its_own(
    caller: Caller | None, operation: str | None, outcome: str, reached: bool, alone: bool
) -> None:
    assert acts(caller, operation, outcome, reached=reached) is alone


def test_many_addresses_take_a_bounded_number_of_lines(
    counted: CountedRequests, path: Path
) -> None:
    assert MOST == 256
    for number in range(10_000):
        counted.count(None, f"10.0.{number // 256}.{number % 256}", "unauthorized")
    counted.write()
    found = sums(path)
    assert len(found) == 257
    assert found[-1] == (None, "others", {"unauthorized": 10_000 - 256})


def test_what_cannot_be_written_is_written_later(
    counted: CountedRequests, path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    for address in ("192.0.2.1", "192.0.2.2", "192.0.2.3"):
        counted.count(None, address, "unauthorized")
    append = AuditLog.append
    written: list[None] = []

    def full(log: AuditLog, record: Any) -> None:
        if written:
            raise OSError(28, "No space left on device")
        append(log, record)
        written.append(None)

    with monkeypatch.context() as patch:
        patch.setattr(AuditLog, "append", full)
        clock.now += 60
        with pytest.raises(OSError, match="No space"):
            counted.write_due()
    counted.write_due()
    assert [address for _, address, _ in sums(path)] == ["192.0.2.1", "192.0.2.2", "192.0.2.3"]
