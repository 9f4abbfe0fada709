"""The overload benchmark tells a polite refusal from a fault, and keeps to its marks."""

from __future__ import annotations

import json
from collections import Counter

import pytest

from bench.overload.arrivals import Answer
from bench.overload.marks import BEGIN, END, insert, kept
from bench.overload.report import flatness
from bench.overload.verdict import judge
from blindgate import problems
from blindgate.problems import Problem

JSON = b"http/1.1 503 x\r\ncontent-type: application/problem+json"
RETRY = JSON + b"\r\nretry-after: 1\r\n"


def refusal(problem: Problem, head: bytes, status: int | None = None) -> Answer:
    body = json.dumps(problem.body()).encode()
    return Answer(1.0, 0.5, problem.status if status is None else status, head, body)


@pytest.mark.parametrize(
    ("answer", "slug"),
    [
        (refusal(problems.OVERLOADED, RETRY), "overloaded"),
        (refusal(problems.RATE_LIMITED, RETRY), "rate-limited"),
        (refusal(problems.DEADLINE_EXCEEDED, JSON), "deadline-exceeded"),
    ],
)
def test_a_documented_refusal_is_no_fault(answer: Answer, slug: str) -> None:
    verdict = judge([answer], b"right", 10.0)
    assert (verdict.refused, verdict.faults) == (Counter([slug]), Counter())


@pytest.mark.parametrize(
    "answer",
    [
        refusal(problems.OVERLOADED, JSON),  # does not say when to come back
        refusal(problems.OVERLOADED, RETRY, 500),
        refusal(problems.ENCLAVE_UNAVAILABLE, RETRY),
        refusal(problems.OVERLOADED, RETRY.replace(b"problem+", b"")),
        Answer(1.0, 0.5, 503, RETRY, b"busy"),
        Answer(1.0, 0.5, 200, b"", b"another picture's"),
        Answer(1.0, 0.5, 0, b"", b""),
        Answer(1.0, 0.5, -1, b"", b""),
    ],
)
def test_anything_else_is_a_fault(answer: Answer) -> None:
    verdict = judge([answer], b"right", 10.0)
    assert verdict.faults.total() == 1
    assert verdict.right == verdict.refused.total() == 0


def test_answers_after_the_last_arrival_do_not_count_as_goodput() -> None:
    answers = [Answer(at, 0.1, 200, b"", b"right") for at in (1.0, 9.0, 11.0)]
    verdict = judge(answers, b"right", 10.0)
    assert (verdict.right, verdict.late_right) == (2, 1)


def test_the_section_is_put_into_a_page_and_replaced_there() -> None:
    once = insert("# Performance\n\nOther words.\n", "first")
    assert once.startswith("# Performance\n\nOther words.\n")
    again = insert(once + "\nMore.\n", "second")
    assert "first" not in again
    assert again.endswith("\nMore.\n")
    assert kept(again) == f"{BEGIN}\nsecond\n{END}"
    assert kept("# Performance\n") is None


def test_memory_that_grows_is_noticed() -> None:
    assert flatness((100,) * 40) == 1.0
    assert flatness(tuple(range(100, 180))) > 1.1
