"""Clients that go on asking, whatever happens, and remember what they were told."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import httpx

from blindgate.client import Blindgate
from blindgate.client.errors import ProblemError
from blindgate.detections import Detections
from blindgate.errors import BlindgateError

#: No request of these tests may take longer: one that does hangs.
HANG_SECONDS = 20.0
OK = "ok"


@dataclass(frozen=True)
class Told:
    """One request and what came of it.

    Attributes:
        at: When its answer was there, monotonic.
        outcome: `ok`, a problem's slug, or the name of what broke.
        seconds: How long it took.
        right: False if the answer is of another photo.
    """

    at: float
    outcome: str
    seconds: float
    right: bool = True


Ask = Callable[[], bool]


def told(ask: Ask) -> Told:
    """Ask once; `ask` returns whether the answer is the right one."""
    began = time.monotonic()
    right, outcome = True, OK
    try:
        right = ask()
    except ProblemError as error:
        outcome = error.type.rpartition(":")[2]
    except (httpx.TransportError, BlindgateError) as error:
        outcome = type(error).__name__
    return Told(time.monotonic(), outcome, time.monotonic() - began, right)


def sealed(client: Blindgate, photo: bytes, expected: Detections) -> Ask:
    """A sealed request with one photo."""
    return lambda: client.detect(photo).detections == expected.detections


def opened(url: str, envelope: Callable[[], bytes], expected: Detections, timeout: float) -> Ask:
    """An envelope by plain HTTP; the gateway is told to answer within `timeout` seconds."""

    def ask() -> bool:
        answer = httpx.post(
            url + "/v1/detections",
            content=envelope(),
            headers={
                "content-type": "application/octet-stream",
                "request-timeout": f"{timeout:g}",
            },
            timeout=HANG_SECONDS,
            trust_env=False,
        )
        if answer.status_code != 200:
            raise ProblemError(answer.status_code, answer.json(), sealed=False)
        return Detections.model_validate_json(answer.content).detections == expected.detections

    return ask


@dataclass
class Traffic:
    """Everything that the clients were told."""

    all: list[Told] = field(default_factory=list)

    def outcomes(self) -> Counter[str]:
        """How often each outcome came."""
        return Counter(one.outcome for one in self.all)

    def wrong(self) -> int:
        """Answers to another client's photo."""
        return sum(not one.right for one in self.all)

    def slowest(self) -> float:
        """Seconds of the slowest request."""
        return max((one.seconds for one in self.all), default=0.0)

    def first_ok_after(self, moment: float) -> float | None:
        """Seconds from a moment to the first good answer of a request that began after it."""
        times = [
            one.at - moment
            for one in self.all
            if one.outcome == OK and one.at - one.seconds >= moment
        ]
        return min(times, default=None)


@contextmanager
def traffic(asks: Sequence[Ask]) -> Iterator[Traffic]:
    """Have each client ask again and again, one thread each, until the block ends."""
    seen, ends = Traffic(), threading.Event()

    def go_on(ask: Ask) -> None:
        while not ends.is_set():
            one = told(ask)
            seen.all.append(one)
            if one.outcome != OK:
                ends.wait(0.05)

    threads = [threading.Thread(target=go_on, args=(ask,)) for ask in asks]
    for thread in threads:
        thread.start()
    try:
        yield seen
    except AssertionError as failed:
        failed.add_note(f"the clients were told {dict(seen.outcomes())}")
        raise
    finally:
        ends.set()
        for thread in threads:
            thread.join(HANG_SECONDS)
        assert not any(thread.is_alive() for thread in threads), "a request hangs"


def until(happened: Callable[[], bool], seconds: float, what: str) -> float:
    """Wait for something; returns how long it took."""
    began = time.monotonic()
    while not happened():
        assert time.monotonic() - began < seconds, f"{what}: not within {seconds:g} s"
        time.sleep(0.02)
    return time.monotonic() - began
