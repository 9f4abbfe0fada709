"""What is written of requests that are over: soon, once, and before anybody reads metrics."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import Any, cast

import pytest
from prometheus_client import CollectorRegistry

from gateway.telemetry import access_log
from gateway.telemetry.access_log import MOST_LINES, Record, Records
from gateway.telemetry.timeline import Timeline
from tests.gateway.conftest import serve_gateway

pytestmark = pytest.mark.anyio


class Counted:
    """Metrics that keep the routes they are told of."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.routes: list[str] = []
        self.fails = False

    def before_reading(self, bring_up_to_date: Any) -> None:
        """Nobody reads these."""

    def answered(self, route: str, *_: object) -> None:
        if self.fails:
            self.fails = False
            raise ValueError("once")
        self.routes.append(route)


@pytest.fixture
def counted() -> Counted:
    return Counted()


@pytest.fixture
def book(counted: Counted) -> Records:
    return Records(cast("Any", counted))


def record(route: str | None = "/a") -> Record:
    timeline = Timeline()
    return Record(timeline, timeline.started + 0.5, "GET", route, 200, None, "id", None, None)


async def test_a_record_is_written_soon_without_another_one(
    counted: Counted, book: Records, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(access_log, "_LATE", 0.01)
    for _ in range(2):
        before = len(counted.routes)
        book.add(record())
        assert len(counted.routes) == before
        async with asyncio.timeout(10):
            while len(counted.routes) == before:
                await asyncio.sleep(0.01)


async def test_many_records_do_not_wait(counted: Counted, book: Records) -> None:
    for _ in range(access_log._AT_ONCE):
        book.add(record())
    assert len(counted.routes) == access_log._AT_ONCE


async def test_collecting_changes_nothing_and_reading_counts_everything_first() -> None:
    async with serve_gateway(wait=False) as served:
        metrics, records = served.app.state.metrics, served.app.state.records
        records.add(record("/waits"))
        waiting = repr(records)
        for _ in range(2):
            list(metrics.registry.collect())
            assert repr(records) == waiting == "<Records 1 to be written>"
        assert b'blindgate_requests_total{problem="",route="/waits",status="200"} 1' in (
            metrics.text()
        )
        assert repr(records) == "<Records 0 to be written>"


async def test_after_the_end_nothing_waits(counted: Counted, book: Records) -> None:
    book.add(record("/before"))
    book.close()
    book.add(record("/after"))
    assert counted.routes == ["/before", "/after"]


async def test_one_that_cannot_be_written_takes_no_other_with_it(
    counted: Counted, book: Records
) -> None:
    counted.fails = True
    book.add(record("/lost"))
    book.add(record("/kept"))
    with pytest.raises(ValueError, match="once"):
        book.write()
    book.write()
    assert counted.routes == ["/kept"]


async def test_a_line_has_the_time_of_its_request(
    counted: Counted, book: Records, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "gateway.http.edge")
    began = time.time()
    book.add(record())
    ended = time.time() + 0.5
    await asyncio.sleep(0.05)
    book.write()
    (line,) = caplog.records
    assert began + 0.49 <= line.created <= ended + 0.01
    assert line.__dict__["ms"] == 500


async def test_a_gateway_that_ends_has_written_all(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "gateway.http.edge")
    async with serve_gateway() as served:
        await served.http.get("/livez")
    assert [r.__dict__["route"] for r in caplog.records if r.msg == "request"] == ["/livez"]


def of_status(status: int, route: str | None = "/a") -> Record:
    timeline = Timeline()
    return Record(timeline, timeline.started, "GET", route, status, None, "id", None, None)


async def test_refused_requests_have_a_bounded_number_of_lines(
    counted: Counted, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    now = 5.0
    book = Records(cast("Any", counted), clock=lambda: now)
    assert MOST_LINES == 120

    def lines(event: str) -> int:
        return sum(record.message == event for record in caplog.records)

    for number in range(1000):
        book.add(of_status((401, 404, 405, 429)[number % 4]))
        book.add(of_status(200))
    book.add(of_status(200, None))
    book.write()
    assert lines("request") == 1000 + 120
    assert lines("refused requests without a line") == 0
    now += 59.9
    book.add(of_status(401))
    book.write()
    assert lines("request") == 1120
    now += 0.1
    book.add(of_status(401))
    book.write()
    assert lines("request") == 1121
    (said,) = [r for r in caplog.records if r.message.startswith("refused requests")]
    assert vars(said)["count"] == 1000 + 1 + 1 - 120
    book.close()
    assert lines("refused requests without a line") == 1
    assert len(counted.routes) == 2003, "all are counted"


async def test_what_was_not_logged_is_said_at_the_end(
    counted: Counted, book: Records, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    for _ in range(123):
        book.add(of_status(401))
    book.close()
    assert [vars(r)["count"] for r in caplog.records if r.message.startswith("refused")] == [3]
