"""Content-Type, Content-Encoding and Accept (RFC 9110, sections 8.3, 8.4 and 12.5.1)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.requests import Request

from blindgate import problems
from gateway.http.media_types import best_of, content_type, refuse_content_codings
from gateway.http.problem_responses import Refused

OFFERED = ("application/json", "image/jpeg", "image/png")


def request(name: str, *values: str) -> Request:
    headers = [(name.encode(), value.encode("latin-1")) for value in values]
    return Request({"type": "http", "method": "GET", "path": "/", "headers": headers})


@pytest.mark.parametrize(
    ("accept", "chosen"),
    [
        ([], "application/json"),
        (["*/*"], "application/json"),
        (["application/json"], "application/json"),
        (["image/png"], "image/png"),
        (["IMAGE/PNG"], "image/png"),
        ([" image/png ; charset=x "], "image/png"),
        # The first that is offered, where the client likes several as much.
        (["image/png, image/jpeg"], "image/jpeg"),
        (["image/*"], "image/jpeg"),
        # Qualities.
        (["application/json;q=0.5, image/png"], "image/png"),
        (["application/json;q=0.5, image/png;q=0.4"], "application/json"),
        (["application/json;q=0.5, image/png; Q=0.6"], "image/png"),
        (["application/json;level=1;q=0.2, image/png;q=0.3"], "image/png"),
        (["application/json;q=0.9, image/png;q=7"], "image/png"),
        (["application/json;q=0, */*;q=0.1"], "image/jpeg"),
        (["application/json;q=-1, */*;q=0.1"], "image/jpeg"),
        (["application/json;q=much, */*;q=0.1"], "image/jpeg"),
        (["application/json;q=nan, */*;q=0.1"], "image/jpeg"),
        # The most specific range decides, wherever it is.
        (["*/*, image/jpeg;q=0.1, application/json;q=0.2"], "image/png"),
        (["image/*;q=0.9, */*;q=0.5"], "image/jpeg"),
        (["*/*;q=0.5, image/*;q=0.9, image/jpeg;q=0.1"], "image/png"),
        # Several fields are one list, and empty members do not count.
        (["text/html", "image/png"], "image/png"),
        ([", ,image/png,"], "image/png"),
        ([""], "application/json"),
        ([";q=0"], "application/json"),
    ],
)
def test_the_media_type_that_the_client_likes_best_is_chosen(
    accept: list[str], chosen: str
) -> None:
    assert best_of(request("accept", *accept), OFFERED) == chosen


@pytest.mark.parametrize(
    "accept",
    [
        "text/html",
        "image",
        "image/",
        "/*",
        "application/json;q=0",
        "application/json;q=",
        "*/*;q=0",
        "*/*;q=nan",
        "*/*;q=0.0, image/gif",
    ],
)
def test_a_client_that_accepts_nothing_of_it_is_told_what_there_is(accept: str) -> None:
    with pytest.raises(Refused) as refused:
        best_of(request("accept", accept), OFFERED)
    assert refused.value.problem is problems.NOT_ACCEPTABLE
    assert refused.value.members["offers"] == list(OFFERED)


def test_a_parameter_of_what_is_offered_does_not_matter() -> None:
    offered = ("text/plain; version=0.0.4", "image/png")
    assert best_of(request("accept", "text/plain, image/png"), offered) == offered[0]
    assert best_of(request("accept", "text/*;q=0.1, image/png"), offered) == offered[1]


@given(st.lists(st.text(st.characters(max_codepoint=255)), max_size=3))
def test_any_accept_chooses_one_or_is_refused(accept: list[str]) -> None:
    try:
        chosen = best_of(request("accept", *accept), OFFERED)
    except Refused:
        return
    assert chosen in OFFERED


@pytest.mark.parametrize("given", ["image/jpeg", "Image/JPEG", " image/jpeg ;q=1", "image/jpeg;"])
def test_a_content_type_is_told_without_its_parameters(given: str) -> None:
    assert content_type(request("content-type", given), ["image/png", "image/jpeg"]) == "image/jpeg"


@pytest.mark.parametrize("given", [[], [""], ["image/gif"], ["image/jpeg, image/png"], ["image"]])
def test_another_content_type_is_refused_with_those_that_are_taken(given: list[str]) -> None:
    with pytest.raises(Refused) as refused:
        content_type(request("content-type", *given), ["image/png", "image/jpeg"])
    assert refused.value.problem is problems.UNSUPPORTED_MEDIA_TYPE
    assert refused.value.headers == {"accept": "image/png, image/jpeg"}


@pytest.mark.parametrize(
    "given", [[], [""], ["identity"], ["Identity, identity"], ["identity", ""]]
)
def test_a_body_without_a_coding_is_taken(given: list[str]) -> None:
    refuse_content_codings(request("content-encoding", *given))


@pytest.mark.parametrize("given", [["gzip"], ["identity, br"], ["identity", "gzip"], ["x"]])
def test_a_body_with_a_coding_is_refused(given: list[str]) -> None:
    with pytest.raises(Refused) as refused:
        refuse_content_codings(request("content-encoding", *given))
    assert refused.value.problem is problems.UNSUPPORTED_MEDIA_TYPE
    assert refused.value.headers == {"accept-encoding": "identity"}
