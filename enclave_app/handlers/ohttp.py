"""The worker's `ohttp` operation: encapsulated request in, encapsulated answer out.

The gateway sees which key a request is sealed to, its padded size and its time, and of the
answer one of a few sizes: not what was asked, not what was found, not even whether it failed,
for every problem met after opening is sealed too (RFC 9458 §5.2).
"""

from __future__ import annotations

import json
import logging
import re
import threading
import time
from dataclasses import dataclass, field
from datetime import date
from email.utils import formatdate
from functools import lru_cache
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qsl

from blindgate import problems
from blindgate.routes import find
from blindgate.sealing import bhttp, fields, ohttp, padding
from blindgate.sealing.errors import BinaryHttpError, OpenRejected, UnknownKey
from enclave_app.keys.replay_window import ReplayCache, name_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from blindgate.problems import Problem
    from blindgate.sealing.fields import Fields
    from enclave_app.keys.keyring import Keyring

__all__ = ["InnerAnswer", "InnerRequest", "OpenRejected", "SealedEndpoint", "UnknownKey"]

_log = logging.getLogger(__name__)

#: How old the Date of a request may be: sealing, a slow upload and the queue fit in.
DATE_PAST_S: Final = 300.0
#: How far ahead of our clock it may be. Clients correct their clock by our answer and retry.
DATE_FUTURE_S: Final = 60.0
#: Names that a query may hold; the schema has five.
MAX_QUERY_FIELDS: Final = 128

_MONTHS: Final = (
    "Jan",
    "Feb",
    "Mar",
    "Apr",
    "May",
    "Jun",
    "Jul",
    "Aug",
    "Sep",
    "Oct",
    "Nov",
    "Dec",
)
_IMF_FIXDATE: Final = re.compile(
    r"(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun), (\d\d) (" + "|".join(_MONTHS) + r") (\d{4})"
    r" ([01]\d|2[0-3]):([0-5]\d):([0-5]\d|60) GMT",
    re.ASCII,
)
_EPOCH_DAY: Final = date(1970, 1, 1).toordinal()


@dataclass(frozen=True, slots=True)
class InnerRequest:
    """What the client asked, as only this worker can read it.

    Attributes:
        method: In upper case, as HTTP writes it.
        path: Without the query.
        query: Names and values, decoded, in order.
        headers: Names in lower case.
        content: The body: a view into the opened message, not a copy.
    """

    method: str
    path: str
    query: tuple[tuple[str, str], ...]
    headers: Fields = field(repr=False)
    content: bytes | bytearray | memoryview = field(repr=False)

    def header(self, name: str) -> str | None:
        """The value of a header by its lower-case name, or None."""
        return fields.find(self.headers, name)


@dataclass(frozen=True, slots=True)
class InnerAnswer:
    """What the client gets, as only this client can read it.

    Attributes:
        status: HTTP status code.
        content: The body.
        content_type: Its media type.
        timings: Milliseconds by stage; they travel inside, as `server-timing`.
        headers: Further fields.
        room: Bytes of the longest content that a response to this request could have, whatever
            the image shows: what is sent is as long as that one would be.
    """

    status: int
    content: bytes = field(repr=False)
    content_type: str = "application/json"
    timings: tuple[tuple[str, float], ...] = ()
    headers: Fields = ()
    room: int = 0

    @classmethod
    def of_problem(
        cls, problem: Problem, detail: str | None = None, **members: object
    ) -> InnerAnswer:
        """A problem of the catalogue as an answer (RFC 9457)."""
        body = json.dumps(problem.body(detail, **members), separators=(",", ":")).encode()
        return cls(problem.status, body, problems.MEDIA_TYPE)


class SealedEndpoint:
    """Opens sealed requests, has them handled, seals the answers.

    Args:
        keyring: The keys of this worker.
        clock: Seconds since the epoch. If it goes back, the latest time seen counts, so that
            nobody reopens the window of a request by turning the clock.
        limits: What an inner request may hold.
        replay: What was answered already.
    """

    def __init__(
        self,
        keyring: Keyring,
        *,
        clock: Callable[[], float] = time.time,
        limits: bhttp.Limits = bhttp.DEFAULT_LIMITS,
        replay: ReplayCache | None = None,
    ) -> None:
        self._keyring = keyring
        self._clock = clock
        self._limits = limits
        self._replay = ReplayCache(DATE_PAST_S + DATE_FUTURE_S) if replay is None else replay
        self._latest = 0.0
        self._lock = threading.Lock()

    def open_and_answer(
        self,
        encapsulated: bytearray | memoryview,
        handle: Callable[[InnerRequest], InnerAnswer],
        *,
        caller: bytes | None = None,
    ) -> bytearray:
        """One exchange; the answer has one of `padding.ANSWER_BUCKETS` sizes.

        Args:
            encapsulated: The body of a `message/ohttp-req`; it is opened where it lies.
            handle: Answers the inner request; what it raises becomes `internal-error`, sealed.
            caller: The gateway's tag of the client that asks.

        Raises:
            UnknownKey: No such key: RFC 9458's `#ohttp-key` problem, outside.
            OpenRejected: It cannot be opened or came before: `ohttp-rejected`, outside.
            Overloaded: No room to remember it: `overloaded`, outside.
        """
        started = time.perf_counter()
        now = self._now()
        header = ohttp.parse_header(encapsulated, self._keyring.find)
        name = name_of(header.encapsulated_key)
        if self._replay.seen(name, now):
            raise OpenRejected
        opened = ohttp.open_in_place(encapsulated, header)
        request = self._admit(opened, name, now, caller)
        unsealed = (time.perf_counter() - started) * 1000
        answer = request if isinstance(request, InnerAnswer) else _answer(handle, request)
        return self._seal(opened.response, answer, unsealed)

    def _admit(
        self, opened: ohttp.OpenedRequest, name: bytes, now: float, caller: bytes | None
    ) -> InnerRequest | InnerAnswer:
        """The inner request, or the sealed problem that stands in its way."""
        try:
            message = bhttp.decode_request(opened.message, self._limits)
            request = _inner_request(message)
        except (BinaryHttpError, ValueError):
            return InnerAnswer.of_problem(
                problems.INVALID_REQUEST, "The sealed content is not a valid Binary HTTP request."
            )
        if message.header("expect") is not None:  # RFC 9458 §5.1
            return InnerAnswer.of_problem(
                problems.INVALID_REQUEST, "A sealed request cannot hold an expectation."
            )
        sent = _parse_date(message.header("date"))
        if sent is None or not now - DATE_PAST_S <= sent <= now + DATE_FUTURE_S:
            return InnerAnswer.of_problem(problems.OHTTP_DATE)
        if _acts(request) and not self._replay.remember(name, now, caller):
            raise OpenRejected
        return request

    def _seal(
        self, response: ohttp.ResponseSealer, answer: InnerAnswer, unsealed: float
    ) -> bytearray:
        timings = (("unseal", unsealed), *answer.timings)
        headers = (
            ("content-type", answer.content_type),
            ("date", _format_date(int(self._now()))),
            ("server-timing", ", ".join(f"{name};dur={spent:.1f}" for name, spent in timings)),
            *answer.headers,
        )
        message = bhttp.Response(answer.status, headers, answer.content).encode()
        largest = max(len(message), len(message) - len(answer.content) + answer.room)
        return response.seal(message, padded_to=padding.answer_size(largest))

    def _now(self) -> float:
        with self._lock:
            self._latest = max(self._latest, self._clock())
            return self._latest


def _answer(handle: Callable[[InnerRequest], InnerAnswer], request: InnerRequest) -> InnerAnswer:
    try:
        return handle(request)
    except Exception as error:  # noqa: BLE001 - what went wrong is for nobody outside
        return InnerAnswer.of_problem(failed(error))


def failed(error: Exception) -> Problem:
    """Log that a sealed request failed, and nothing of it; the problem that its client gets."""
    _log.error("a sealed request failed: %s", type(error).__name__)
    return problems.INTERNAL_ERROR


def _acts(request: InnerRequest) -> bool:
    """Whether a replay of this request would have an image opened again.

    Everything else has the same answer for everybody, so it takes no place in the replay cache:
    requests that cost nothing must not fill it.
    """
    if request.method != "POST" or not request.content:
        return False
    match = find(request.path)
    return match is not None and match.route.opens_images


def _inner_request(message: bhttp.Request) -> InnerRequest:
    path, _, query = message.path.partition("?")
    pairs: tuple[tuple[str, str], ...] = ()
    if query:
        pairs = tuple(
            parse_qsl(
                query,
                keep_blank_values=True,
                strict_parsing=True,
                max_num_fields=MAX_QUERY_FIELDS,
                errors="strict",
            )
        )
    return InnerRequest(message.method, path, pairs, message.headers, message.content)


def _parse_date(value: str | None) -> int | None:
    """An IMF-fixdate (RFC 9110 §5.6.7) as seconds since the epoch; None for anything else.

    A leap second counts as the one after it.
    """
    match = _IMF_FIXDATE.fullmatch(value or "")
    if match is None:
        return None
    day, month, year, hour, minute, second = match.groups()
    try:
        days = date(int(year), _MONTHS.index(month) + 1, int(day)).toordinal() - _EPOCH_DAY
    except ValueError:  # no such day
        return None
    return ((days * 24 + int(hour)) * 60 + int(minute)) * 60 + int(second)


@lru_cache(maxsize=1)
def _format_date(seconds: int) -> str:
    """Seconds since the epoch as an IMF-fixdate: the same one for a whole second's answers."""
    return formatdate(seconds, usegmt=True)
