"""Content-Type and Accept, as far as this service needs them (RFC 9110 §8.3, §12.5.1)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from blindgate import problems
from gateway.http.problem_responses import Refused

if TYPE_CHECKING:
    from starlette.requests import Request


def content_type(request: Request, allowed: Sequence[str]) -> str:
    """The request's media type without its parameters.

    Raises:
        Refused: It is none of those allowed.
    """
    given = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if given not in allowed:
        # RFC 9110 §15.5.16: Accept in a 415 answer names what would have been taken.
        raise Refused(
            problems.UNSUPPORTED_MEDIA_TYPE,
            f"Set the Content-Type to {' or '.join(allowed)}.",
            headers={"accept": ", ".join(allowed)},
        )
    return given


def refuse_content_codings(request: Request) -> None:
    """Refuse a body with a Content-Encoding: ciphertext does not compress, and nothing undoes one.

    Raises:
        Refused: There is one other than `identity`.
    """
    given = ",".join(request.headers.getlist("content-encoding")).split(",")
    if any(coding.strip().lower() not in ("", "identity") for coding in given):
        # RFC 9110 §12.5.3: Accept-Encoding in a 415 response names what would have been taken.
        raise Refused(
            problems.UNSUPPORTED_MEDIA_TYPE,
            "The body has a Content-Encoding: send it without one.",
            headers={"accept-encoding": "identity"},
        )


def best_of(request: Request, offered: Sequence[str]) -> str:
    """The media type to answer with: the client's favourite, or our first where it has none.

    Raises:
        Refused: The client accepts none of them.
    """
    accepted = request.headers.getlist("accept")
    if not accepted or accepted == ["*/*"] or accepted == [offered[0]]:
        return offered[0]
    ranges = [_range(part) for part in ",".join(accepted).split(",")]
    ranges = [(media, quality) for media, quality in ranges if media]
    if not ranges:
        return offered[0]
    rated = [(_quality(media, ranges), media) for media in offered]
    best = max(rated, key=lambda pair: pair[0])
    if best[0] <= 0:
        raise Refused(problems.NOT_ACCEPTABLE, offers=list(offered))
    return best[1]


def _range(text: str) -> tuple[str, float]:
    media, *parameters = (part.strip().lower() for part in text.split(";"))
    quality = 1.0
    for parameter in parameters:
        if parameter.startswith("q="):
            try:
                # In this order "nan", which is neither less nor more, becomes 0.
                quality = min(max(0.0, float(parameter[2:])), 1.0)
            except ValueError:
                quality = 0.0
    return media, quality


def _quality(offered: str, ranges: list[tuple[str, float]]) -> float:
    """The most specific range that matches decides."""
    media = offered.partition(";")[0]
    kind = media.partition("/")[0]
    for wanted in (media, f"{kind}/*", "*/*"):
        for given, quality in ranges:
            if given == wanted:
                return quality
    return 0.0
