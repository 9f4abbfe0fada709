"""More requests than can be answered, at the real stack: every answer is right or a polite no."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from bench.overload.arrivals import arrive
from bench.overload.run import message
from bench.overload.verdict import documented_refusal, fault_of, judge
from tests.e2e.live import LiveStack

pytestmark = pytest.mark.e2e
URL = "/v1/detections"
OCTETS = {"content-type": "application/octet-stream"}
#: Together more than queue and worker hold, on any machine: some must be refused.
RATE, SECONDS = 150.0, 5.0
PATIENCE = 40.0


def test_overload_is_refused_as_documented_and_over_at_once(
    stack: LiveStack, http: httpx.Client, seal: Callable[[bytes], bytes], coffee: Path
) -> None:
    envelope = seal(coffee.read_bytes())
    expected = http.post(URL, content=envelope, headers=OCTETS).raise_for_status().content
    port = int(stack.url.rpartition(":")[2])
    # Some are in a hurry, so that they must be told that it is too late.
    messages = [message(envelope, deadline) for deadline in (4.0, 4.0, 4.0, 0.2)]

    answers = arrive(port, messages, RATE, SECONDS, PATIENCE)

    said = Counter(
        documented_refusal(answer) or ("ok" if answer.body == expected else fault_of(answer))
        for answer in answers
    )
    print(f"\noverload: {dict(said)}")
    assert len(answers) == int(RATE * SECONDS)
    verdict = judge(answers, expected, SECONDS)
    assert verdict.faults == Counter()
    assert verdict.right > 0
    assert verdict.refused["deadline-exceeded"] > 0
    assert verdict.refused["overloaded"] > 0
    assert set(verdict.refused) == {"deadline-exceeded", "overloaded"}

    after = http.post(URL, content=envelope, headers=OCTETS)
    assert (after.status_code, after.content) == (200, expected)
    ready = http.get("/readyz")
    assert ready.status_code == 200
