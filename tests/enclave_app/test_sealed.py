"""The worker's sealed endpoint, with real cryptography on both sides."""

from __future__ import annotations

import json
import logging
import threading
from concurrent.futures import ThreadPoolExecutor
from email.utils import formatdate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blindgate import problems
from blindgate.sealing import bhttp, keys, ohttp, padding
from blindgate.sealing.errors import OpenRejected, UnknownKey
from blindgate.sealing.suites import Kem
from enclave_app.handlers.ohttp import (
    DATE_FUTURE_S,
    DATE_PAST_S,
    InnerAnswer,
    InnerRequest,
    SealedEndpoint,
    _parse_date,
)
from enclave_app.keys.keyring import Keyring
from enclave_app.keys.replay_window import ReplayCache
from enclave_app.scheduling.errors import Overloaded

NOW = 1_800_000_000.0


class Worker:
    """A sealed endpoint whose handler records what it is asked and answers what it is told."""

    def __init__(self, **options: object) -> None:
        self.now = NOW
        self.asked: list[InnerRequest] = []
        self.answer = InnerAnswer(200, b"{}", timings=(("detect", 12.34),))
        self.keyring = Keyring()
        self.endpoint = SealedEndpoint(
            self.keyring,
            clock=lambda: self.now,
            **options,  # type: ignore[arg-type]
        )

    def handle(self, request: InnerRequest) -> InnerAnswer:
        self.asked.append(request)
        return self.answer

    def open(self, encapsulated: bytes | bytearray, caller: bytes | None = None) -> bytes:
        return bytes(
            self.endpoint.open_and_answer(bytearray(encapsulated), self.handle, caller=caller)
        )

    def seal(self, message: bytes, kem: Kem = Kem.X25519) -> ohttp.SealedRequest:
        configs = keys.decode_list(self.keyring.keys_body())
        return ohttp.seal_request(next(c for c in configs if c.kem is kem), message)

    def ask(self, message: bytes) -> bhttp.Response:
        sealed = self.seal(message)
        answer = self.open(bytearray(sealed.encapsulated))
        return bhttp.decode_response(sealed.response.open(answer))


@pytest.fixture
def worker() -> Worker:
    return Worker()


def request(sent: float | None = NOW, path: str = "/v1/detections", **fields: str) -> bytes:
    headers = [(name.replace("_", "-"), value) for name, value in fields.items()]
    if sent is not None:
        headers.append(("date", formatdate(sent, usegmt=True)))
    return bhttp.Request("POST", "https", "gateway", path, tuple(headers), b"photo").encode()


def problem(response: bhttp.Response) -> str:
    assert response.header("content-type") == problems.MEDIA_TYPE
    body = json.loads(bytes(response.content))
    assert body["status"] == response.status
    return str(body["type"])


@pytest.mark.parametrize("kem", list(Kem))
def test_the_handler_sees_the_request_and_the_client_the_answer(worker: Worker, kem: Kem) -> None:
    message = request(path="/v1/detections?min_score=0.5&classes=a%2Cb", content_type="image/jpeg")
    sealed = worker.seal(message, kem)
    answer = worker.open(sealed.encapsulated)
    response = bhttp.decode_response(sealed.response.open(answer))
    (asked,) = worker.asked
    assert (asked.method, asked.path) == ("POST", "/v1/detections")
    assert asked.query == (("min_score", "0.5"), ("classes", "a,b"))
    assert asked.header("content-type") == "image/jpeg"
    assert asked.content == b"photo"
    assert (response.status, response.content) == (200, b"{}")
    assert response.header("content-type") == "application/json"
    assert response.header("date") == formatdate(NOW, usegmt=True)


def test_timings_travel_inside(worker: Worker) -> None:
    timing = worker.ask(request()).header("server-timing")
    assert timing is not None
    assert timing.startswith("unseal;dur=")
    assert timing.endswith(", detect;dur=12.3")


def test_answers_of_every_kind_have_one_size(worker: Worker) -> None:
    sizes = set()
    for body in (b"", b"x" * 3000, b"x" * 57_000):
        worker.answer = InnerAnswer(200, body)
        sizes.add(len(worker.open(worker.seal(request()).encapsulated)))
    worker.answer = InnerAnswer.of_problem(problems.IMAGE_REJECTED)
    sizes.add(len(worker.open(worker.seal(request()).encapsulated)))
    sizes.add(len(worker.open(worker.seal(b"no request").encapsulated)))
    sizes.add(len(worker.open(worker.seal(request(0)).encapsulated)))
    assert sizes == {32 + padding.ANSWER_BUCKETS[0] + 16}


@pytest.mark.parametrize(
    "path",
    [
        "/v1/detections",
        "/v1/detections?min_score=0.5",
        "/v1/%64etections",
        "/v1/detections/sample",
        "/v2/models/m/infer",
        "/v2/models/m/versions/1/infer",
    ],
)
def test_a_replay_is_refused_without_being_handled(worker: Worker, path: str) -> None:
    sealed = worker.seal(request(path=path)).encapsulated
    worker.open(sealed)
    for _ in range(2):
        with pytest.raises(OpenRejected):
            worker.open(sealed)
    assert len(worker.asked) == 1


def test_of_many_copies_at_once_one_is_handled(worker: Worker) -> None:
    sealed = worker.seal(request()).encapsulated
    together = threading.Barrier(8)

    def send() -> bool:
        together.wait()
        try:
            worker.open(sealed)
        except OpenRejected:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        answered = [copy.result() for copy in [pool.submit(send) for _ in range(8)]]
    assert sum(answered) == 1
    assert len(worker.asked) == 1


def test_a_replay_never_becomes_acceptable_again(worker: Worker) -> None:
    sealed = worker.seal(request(NOW + DATE_FUTURE_S))
    worker.open(sealed.encapsulated)
    for later in (1.0, DATE_PAST_S, DATE_PAST_S + DATE_FUTURE_S - 1):
        worker.now = NOW + later
        with pytest.raises(OpenRejected):
            worker.open(sealed.encapsulated)
    worker.now = NOW + DATE_PAST_S + DATE_FUTURE_S + 1
    answer = worker.open(sealed.encapsulated)
    response = bhttp.decode_response(sealed.response.open(answer))
    assert problem(response) == problems.OHTTP_DATE.type
    worker.now = NOW  # Somebody turns the clock back: still not acceptable.
    answer = worker.open(sealed.encapsulated)
    response = bhttp.decode_response(sealed.response.open(answer))
    assert problem(response) == problems.OHTTP_DATE.type
    assert len(worker.asked) == 1


def test_garbage_does_not_fill_the_replay_cache() -> None:
    cache = ReplayCache(60, capacity=1)
    worker = Worker(replay=cache)
    sealed = worker.seal(request()).encapsulated
    for _ in range(3):
        with pytest.raises(OpenRejected):
            worker.open(sealed[:-1] + bytes([sealed[-1] ^ 1]))
    assert len(cache) == 0
    worker.open(sealed)
    with pytest.raises(Overloaded):
        worker.open(worker.seal(request()).encapsulated)
    assert len(worker.asked) == 1


@pytest.mark.parametrize(
    ("method", "path", "content"),
    [
        ("GET", "/v1/models", b""),
        ("GET", "/v1/models", b"a body that means nothing"),
        ("GET", "/v1/detections", b"photo"),
        ("PUT", "/v1/detections", b"photo"),
        ("POST", "/v1/detections", b""),
        ("POST", "/v1/detections/", b"photo"),
        ("POST", "/nothing/here", b"photo"),
        ("GET", "/v2/models/m/infer", b"photo"),
        ("POST", "/v2/models/m/infer", b""),
        ("POST", "/v2/health/ready", b"photo"),
    ],
)
def test_a_request_that_opens_no_image_takes_no_place(
    method: str, path: str, content: bytes
) -> None:
    cache = ReplayCache(360, capacity=1)
    worker = Worker(replay=cache)
    fields = (("date", formatdate(NOW, usegmt=True)),)
    message = bhttp.Request(method, "https", "gateway", path, fields, content).encode()
    sealed = worker.seal(message).encapsulated
    for _ in range(3):
        worker.open(sealed)
    assert len(cache) == 0
    assert len(worker.asked) == 3


@pytest.mark.parametrize(
    "path",
    [
        "/v1/detections",
        "/v1/detections?min_score=0.5",
        "/v2/models/m/infer",
        "/v2/models/m/versions/1/infer",
    ],
)
def test_a_request_that_opens_an_image_is_answered_once(path: str) -> None:
    cache = ReplayCache(360)
    worker = Worker(replay=cache)
    sealed = worker.seal(request(path=path)).encapsulated
    worker.open(sealed)
    with pytest.raises(OpenRejected):
        worker.open(sealed)
    assert len(cache) == 1
    assert len(worker.asked) == 1


def test_a_caller_that_fills_its_share_keeps_nobody_else_out() -> None:
    worker = Worker(replay=ReplayCache(360, capacity=8))
    for _ in range(6):
        worker.open(worker.seal(request()).encapsulated, b"greedy")
    with pytest.raises(Overloaded):
        worker.open(worker.seal(request()).encapsulated, b"greedy")
    worker.open(worker.seal(request()).encapsulated, b"another")
    assert len(worker.asked) == 7


def test_the_date_window_is_what_the_documents_say() -> None:
    assert (DATE_PAST_S, DATE_FUTURE_S) == (300, 60)


@pytest.mark.parametrize("offset", [-DATE_PAST_S, 0, DATE_FUTURE_S])
def test_a_date_within_the_window_is_accepted(worker: Worker, offset: float) -> None:
    assert worker.ask(request(NOW + offset)).status == 200


@pytest.mark.parametrize("offset", [-DATE_PAST_S - 1, DATE_FUTURE_S + 1, -NOW, None])
def test_a_date_outside_the_window_is_told_with_our_own(
    worker: Worker, offset: float | None
) -> None:
    response = worker.ask(request(None if offset is None else NOW + offset))
    assert response.status == 400
    assert problem(response) == "https://iana.org/assignments/http-problem-types#date"
    assert response.header("date") == formatdate(NOW, usegmt=True)
    assert not worker.asked


@pytest.mark.parametrize(
    "date",
    [
        "yesterday",
        "2027-01-15T08:00:00Z",
        "Fri, 15 Jan 2027 08:00:00",
        "Fri, 15 Jan 2027 08:00:00 UTC",
        "Fri, 15 Jan 2027 08:00:00 GMT+1",
        "Friday, 15-Jan-27 08:00:00 GMT",
        "Fri Jan 15 08:00:00 2027",
        "fri, 15 jan 2027 08:00:00 gmt",
        "Fri, 15  Jan 2027 08:00:00 GMT",
        "Fri, \xb2\xb2 Jan 2027 08:00:00 GMT",
    ],
)
def test_a_date_in_another_form_is_refused(worker: Worker, date: str) -> None:
    assert formatdate(NOW, usegmt=True) == "Fri, 15 Jan 2027 08:00:00 GMT"
    assert problem(worker.ask(request(None, date=date))) == problems.OHTTP_DATE.type


@given(st.integers(-62_135_596_800, 253_402_300_799))
def test_every_date_that_http_writes_is_read(seconds: int) -> None:
    assert _parse_date(formatdate(seconds, usegmt=True)) == seconds


@pytest.mark.parametrize(
    ("date", "seconds"),
    [
        ("Sun, 06 Nov 1994 08:49:37 GMT", 784_111_777),  # RFC 9110 §5.6.7
        ("Thu, 29 Feb 2024 23:59:59 GMT", 1_709_251_199),
        ("Sat, 31 Dec 2016 23:59:60 GMT", 1_483_228_800),  # a leap second
        ("Wed, 29 Feb 2023 00:00:00 GMT", None),
        ("Wed, 31 Apr 2024 00:00:00 GMT", None),
        ("Mon, 00 Jan 2024 00:00:00 GMT", None),
        ("Mon, 01 Jan 0000 00:00:00 GMT", None),
        ("Mon, 01 Jan 2024 24:00:00 GMT", None),
        ("Mon, 01 Jan 2024 00:60:00 GMT", None),
        ("Mon, 01 Jan 2024 00:00:61 GMT", None),
        ("Mon, 01 Jan 2024 00:00:00 GMT\n", None),
        ("", None),
        (None, None),
    ],
)
def test_only_days_and_times_that_exist_are_read(date: str | None, seconds: int | None) -> None:
    assert _parse_date(date) == seconds


@pytest.mark.parametrize(
    "message",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"\x01\x40\xc8", id="a response"),
        pytest.param(request(path="/v1/detections?a=%ff"), id="query that is not UTF-8"),
        pytest.param(request(path="/v1/detections?" + "a=1&" * 200), id="endless query"),
        pytest.param(request(expect="100-continue"), id="expectation, RFC 9458 5.1"),
    ],
)
def test_an_invalid_inner_request_is_told_inside(worker: Worker, message: bytes) -> None:
    assert problem(worker.ask(message)) == problems.INVALID_REQUEST.type
    assert not worker.asked


def test_limits_of_the_inner_request_hold() -> None:
    worker = Worker(limits=bhttp.Limits(content=4))
    assert problem(worker.ask(request())) == problems.INVALID_REQUEST.type


def test_an_unknown_key_is_told_outside(worker: Worker) -> None:
    sealed = bytearray(worker.seal(request()).encapsulated)
    sealed[0] = next(i for i in range(256) if i not in worker.keyring.key_ids())
    with pytest.raises(UnknownKey):
        worker.open(sealed)


@pytest.mark.parametrize("end", [0, 3, 7, 38, 39, 60, -1])
def test_whatever_cannot_be_opened_is_refused_alike(worker: Worker, end: int) -> None:
    sealed = worker.seal(request()).encapsulated
    with pytest.raises(OpenRejected) as refused:
        worker.open(sealed[:end])
    assert str(refused.value) == str(OpenRejected())


def test_a_handler_that_fails_is_told_inside_and_says_nothing_outside(
    worker: Worker, caplog: pytest.LogCaptureFixture
) -> None:
    sealed = worker.seal(request())

    def fail(_: InnerRequest) -> InnerAnswer:
        raise RuntimeError("what the photo showed")

    with caplog.at_level(logging.DEBUG):
        answer = worker.endpoint.open_and_answer(bytearray(sealed.encapsulated), fail)
    response = bhttp.decode_response(sealed.response.open(answer))
    assert problem(response) == problems.INTERNAL_ERROR.type
    assert "RuntimeError" in caplog.text
    assert "photo" not in caplog.text


def test_contents_do_not_show(worker: Worker) -> None:
    worker.ask(request(secret="secret"))
    assert "secret" not in repr(worker.asked[0])
    assert "photo" not in repr(worker.asked[0])
    assert "hidden" not in repr(InnerAnswer(200, b"hidden"))
