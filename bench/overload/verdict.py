"""What answers under overload are: right, a refusal as documented, or a fault."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from bench.load.results import percentile
from bench.overload.arrivals import Answer
from blindgate import problems

#: How the gateway may say no when there is too much: `docs/errors.md`.
DOCUMENTED: Final = (problems.OVERLOADED, problems.DEADLINE_EXCEEDED, problems.RATE_LIMITED)
_RETRY_AFTER: Final = b"\r\nretry-after:"


@dataclass(frozen=True, slots=True)
class Verdict:
    """Everything that came of a run.

    Attributes:
        right: Right answers that came while requests arrived.
        late_right: Those that came after the last arrival.
        refused: Documented refusals by the slug of their problem.
        faults: Anything else, by what it was.
        p50: Seconds of the right answers.
        p99: The same.
        refusal_p99: Seconds of the refusals for being too many.
    """

    right: int
    late_right: int
    refused: Counter[str]
    faults: Counter[str]
    p50: float
    p99: float
    refusal_p99: float


def judge(answers: Sequence[Answer], expected: bytes, seconds: float) -> Verdict:
    """DetectionRequest at every answer.

    Args:
        answers: What came.
        expected: The body of a right answer.
        seconds: For how long requests arrived.
    """
    refused: Counter[str] = Counter()
    faults: Counter[str] = Counter()
    right: list[Answer] = []
    refusals: list[float] = []
    for answer in answers:
        if answer.status == 200 and answer.body == expected:
            right.append(answer)
            continue
        slug = documented_refusal(answer)
        if slug is None:
            faults[fault_of(answer)] += 1
            continue
        refused[slug] += 1
        if slug == problems.OVERLOADED.slug:
            refusals.append(answer.seconds)
    taken = [answer.seconds for answer in right]
    in_time = sum(answer.at <= seconds for answer in right)
    return Verdict(
        in_time,
        len(right) - in_time,
        refused,
        faults,
        percentile(taken, 0.5),
        percentile(taken, 0.99),
        percentile(refusals, 0.99),
    )


def documented_refusal(answer: Answer) -> str | None:
    """The slug of a refusal that is one as documented, headers and body included."""
    if b"application/problem+json" not in answer.head:
        return None
    try:
        body = json.loads(answer.body)
    except ValueError:
        return None
    for problem in DOCUMENTED:
        if (answer.status, body.get("type")) == (problem.status, problem.type):
            wants_retry = problem is not problems.DEADLINE_EXCEEDED
            return problem.slug if not wants_retry or _RETRY_AFTER in answer.head else None
    return None


def fault_of(answer: Answer) -> str:
    """A few words on what should not have come."""
    if answer.status == 0:
        return "connection broken"
    if answer.status == -1:
        return "no answer"
    return f"status {answer.status}: {answer.body[:120].decode(errors='replace')}"
