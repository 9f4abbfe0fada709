"""What is written of requests that are over: counts, spans and a line in the log each.

It is written for a dozen at once. What runs beside an enclave's neural network finds nothing of
its own in the processor's caches, and pays for that at each request; in one go it pays once.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from gateway.telemetry.metrics import Metrics
from gateway.telemetry.timeline import Timeline
from gateway.telemetry.tracing import Tracing

#: Of whoever notes the records, as for what it says of a request itself.
_log = logging.getLogger("gateway.http.edge")
#: Seconds that a line may be late.
_LATE: Final = 0.25
#: How many are written at once: 2 ms, which nobody else need wait longer for.
_AT_ONCE: Final = 32
#: The route of a request whose path has none.
_UNMATCHED: Final = "unmatched"
#: Answers that everybody gets who reaches the port, and who asks too often.
_TO_ANYBODY: Final = frozenset({401, 404, 405, 429})
#: Lines a minute for these; others are counted in one line, so that nobody fills the disk.
MOST_LINES: Final = 120
_MINUTE: Final = 60.0


@dataclass(frozen=True, slots=True)
class Record:
    """One request that is over.

    Attributes:
        timeline: Its stages.
        ended: When its answer was sent, on `time.perf_counter`.
        method: Its method.
        route: The template of its path, for the path and its query are the client's; None if
            there is none.
        status: Its answer's; 0 if its client went away before.
        problem: The slug of the problem that it was answered with.
        request_id: Ours.
        enclave: The address of the enclave that answered.
        parent: Its `traceparent` header, where traces are made.
    """

    timeline: Timeline
    ended: float
    method: str
    route: str | None
    status: int
    problem: str | None
    request_id: str
    enclave: str | None
    parent: str | None


class Records:
    """Takes records and has them written soon; at once where somebody asks for metrics.

    Args:
        metrics: Where to count.
        tracing: What makes spans; None without.
        clock: Monotonic seconds.
    """

    def __init__(
        self,
        metrics: Metrics,
        tracing: Tracing | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._metrics = metrics
        self._tracing = tracing
        self._waiting: deque[Record] = deque()
        self._is_due = False
        self._closed = False
        self._clock = clock
        self._minute_ends = 0.0
        self._lines = 0
        metrics.before_reading(self.write)

    def __repr__(self) -> str:
        return f"<Records {len(self._waiting)} to be written>"

    @property
    def traced(self) -> bool:
        """Whether spans are made of them."""
        return self._tracing is not None

    def add(self, record: Record) -> None:
        """Have a record written, from the event loop."""
        self._waiting.append(record)
        if self._closed or len(self._waiting) >= _AT_ONCE:
            self.write()
        elif not self._is_due:
            self._is_due = True
            asyncio.get_running_loop().call_later(_LATE, self._write_late)

    def write(self) -> None:
        """Write all that waits."""
        while self._waiting:
            self._write(self._waiting.popleft())

    def close(self) -> None:
        """Write all that waits, and from now on each as it comes."""
        self._closed = True
        self.write()
        self._say_unlogged()

    def _write_late(self) -> None:
        self._is_due = False
        self.write()

    def _write(self, record: Record) -> None:
        timeline, route = record.timeline, record.route
        seconds = record.ended - timeline.started
        self._metrics.answered(
            route or _UNMATCHED, record.status, record.problem, seconds, timeline
        )
        if self._tracing is not None:
            self._tracing.record(
                timeline,
                record.ended,
                method=record.method,
                route=route,
                status=record.status,
                problem=record.problem,
                request_id=record.request_id,
                parent=record.parent,
            )
        if _log.isEnabledFor(logging.INFO) and self._has_line(record):
            line = {
                "request_id": record.request_id,
                "method": record.method if route is not None else "other",
                "route": route or _UNMATCHED,
                "status": record.status,
                "problem": record.problem,
                "enclave": record.enclave,
                "ms": round(seconds * 1000, 2),
            }
            entry = _log.makeRecord(_log.name, logging.INFO, "", 0, "request", (), None, extra=line)
            entry.created = timeline.nanoseconds(record.ended) / 1e9
            _log.handle(entry)

    def _has_line(self, record: Record) -> bool:
        """Whether a request has a line of its own."""
        if record.route is not None and record.status not in _TO_ANYBODY:
            return True
        now = self._clock()
        if now >= self._minute_ends:
            self._say_unlogged()
            self._minute_ends = now + _MINUTE
        self._lines += 1
        return self._lines <= MOST_LINES

    def _say_unlogged(self) -> None:
        if (count := self._lines - MOST_LINES) > 0:
            _log.info("refused requests without a line", extra={"count": count})
        self._lines = 0
