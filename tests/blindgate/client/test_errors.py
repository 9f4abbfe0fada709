"""A problem as an exception: its parts, and one line for a person."""

from __future__ import annotations

from typing import Any

import pytest

from blindgate.client.errors import ProblemError


def problem(status: int = 422, **members: Any) -> ProblemError:
    return ProblemError(status, members, sealed=True)


def faults(count: int) -> list[dict[str, str]]:
    return [{"parameter": f"p{number}", "message": "wrong"} for number in range(count)]


def test_the_members_are_attributes() -> None:
    error = ProblemError(
        429,
        {
            "type": "urn:blindgate:problem:rate-limited",
            "title": "Too many requests",
            "detail": "Wait.",
            "errors": faults(1),
            "request_id": "0123",
            "limit": 7,
        },
        sealed=False,
        retry_after=3.0,
    )
    assert (error.status, error.sealed, error.retry_after) == (429, False, 3.0)
    assert error.type == "urn:blindgate:problem:rate-limited"
    assert error.slug == "rate-limited"
    assert (error.title, error.detail, error.request_id) == ("Too many requests", "Wait.", "0123")
    assert error.errors == ({"parameter": "p0", "message": "wrong"},)
    assert error.members["limit"] == 7


def test_members_that_are_missing_or_of_another_type_do_no_harm() -> None:
    error = problem(422, errors="none", request_id=5)
    assert (error.type, error.title, error.detail) == ("about:blank", "HTTP status 422", "")
    assert (error.errors, error.request_id, error.retry_after) == ((), None, None)
    assert problem(errors=["text", None, {"parameter": "a"}]).errors == ({"parameter": "a"},)
    assert str(problem(422, type=5, title=None)) == "None (422)"


@pytest.mark.parametrize(
    ("type_", "slug"),
    [
        ("https://example.com/docs/errors.md#image-rejected", "image-rejected"),
        ("urn:blindgate:problem:busy", "busy"),
        ("about:blank", "blank"),
    ],
)
def test_the_slug_is_the_last_part_of_the_type(type_: str, slug: str) -> None:
    assert problem(type=type_).slug == slug


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({"title": "Refused"}, "Refused (422)"),
        ({"title": "Refused", "detail": "Do this."}, "Refused (422): Do this."),
        # What is listed says more than a general advice.
        (
            {"title": "Refused", "detail": "Do this.", "errors": faults(2)},
            "Refused (422): p0: wrong; p1: wrong",
        ),
        ({"title": "R", "errors": [{"message": "wrong"}]}, "R (422): wrong"),
        ({"title": "R", "errors": [{"parameter": "p"}]}, "R (422): p"),
        (
            {"title": "R", "errors": faults(5)},
            "R (422): p0: wrong; p1: wrong; p2: wrong; p3: wrong; p4: wrong",
        ),
        (
            {"title": "R", "errors": faults(6)},
            "R (422): p0: wrong; p1: wrong; p2: wrong; p3: wrong; p4: wrong; and 1 more",
        ),
    ],
)
def test_the_message_lists_at_most_five_faults(members: dict[str, Any], message: str) -> None:
    assert str(problem(**members)) == message


def test_a_message_repeats_at_most_500_characters_of_each_text() -> None:
    assert str(problem(title="t" * 500, detail="d" * 500)) == f"{'t' * 500} (422): {'d' * 500}"
    assert str(problem(title="t" * 501, detail="d" * 501)) == f"{'t' * 500} (422): {'d' * 500}"


def test_a_message_steers_no_terminal() -> None:
    text = str(problem(title="a\x1b[2J", detail="b\r\n\x07", errors=[{"message": "c\x1b]0;x"}]))
    assert text.isprintable()


@pytest.mark.parametrize(
    ("status", "asks"), [(400, "and is http or https right?"), (502, "a Blindgate gateway?")]
)
def test_without_a_problem_document_the_gateway_is_doubted(status: int, asks: str) -> None:
    text = str(problem(status))
    assert text.startswith(f"HTTP status {status} without a problem document")
    assert text.endswith(asks)
    assert ("http or https" in text) is (status == 400)
