"""Building requests and parsing responses: header fields, options, detections.

A client's request is split in two: the inner request, which only the enclave reads, and the request
to the gateway, which carries it sealed.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlencode

import httpx
from pydantic import ValidationError

from blindgate import routes
from blindgate.client import images
from blindgate.client.errors import (
    AnswerRejected,
    GatewayProblem,
    InvalidCredentials,
    InvalidOptions,
    ProblemError,
)
from blindgate.detections import Detections, DetectOptions
from blindgate.failures import faults_of
from blindgate.sealing import fields

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from blindgate.problems import Problem
    from blindgate.sealing.fields import Fields

#: Long enough for a large image on a slow line, the queue and the detection. A gateway that cannot
#: be reached shows within 10 s.
TIMEOUT: Final = httpx.Timeout(120.0, connect=10.0)
#: Images of one `detect_many` in flight at the same time.
CONCURRENCY: Final = 4
#: What a header field can carry without quoting: RFC 9110 §5.5, without spaces.
_VISIBLE: Final = re.compile(r"[\x21-\x7e]+")
#: Header fields that travel outside the seal, because the gateway reads them.
OUTER_HEADERS: Final = frozenset(
    {"authorization", "request-timeout", "traceparent", "tracestate", "user-agent", "x-api-key"}
)
#: Header fields of one connection, and those that Binary HTTP expresses in other ways.
_DROPPED: Final = frozenset(
    {"host", "content-length", "accept-encoding", "connection", "keep-alive", "te", "date",
     "proxy-connection", "proxy-authorization", "transfer-encoding", "upgrade", "expect"}
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class GatewayRequest:
    """A request to the gateway, as the gateway sees it."""

    method: str
    path: str
    headers: tuple[tuple[str, str], ...] = ()
    content: bytes = field(default=b"", repr=False)


@dataclass(frozen=True, slots=True)
class GatewayResponse:
    """A response of the gateway; its content may be sealed."""

    status: int
    headers: httpx.Headers
    content: bytes = field(repr=False)

    @property
    def media_type(self) -> str:
        """The media type without its parameters."""
        declared: str = self.headers.get("content-type", "")
        return declared.partition(";")[0].strip().lower()


@dataclass(frozen=True, slots=True)
class Response:
    """The response to an exchange, after it was opened.

    Attributes:
        status: HTTP status code.
        headers: Names in lower case.
        content: The body.
        sealed: Whether it came from the enclave. Otherwise it is a problem (4xx, 5xx) of the
            gateway.
    """

    status: int
    headers: Fields
    content: bytes = field(repr=False)
    sealed: bool

    def header(self, name: str) -> str | None:
        """The value of a header by its lower-case name, or None."""
        return fields.find(self.headers, name)

    def problem(self) -> ProblemError:
        """This response as an error."""
        return _problem(self.status, self.content, self.header("retry-after"), sealed=self.sealed)


def credentials(*, api_key: str | None, token: str | None) -> dict[str, str]:
    """The header fields that authenticate the caller.

    Args:
        api_key: An API key of the gateway.
        token: A token of the identity provider that the gateway trusts.

    Raises:
        InvalidCredentials: Both are given, or one that no header field can carry. The message
            does not repeat it.
    """
    if api_key is not None and token is not None:
        raise InvalidCredentials("give an API key or a token, not both")
    for secret, what in ((api_key, "API key"), (token, "token")):
        if secret is not None and not _VISIBLE.fullmatch(secret):
            raise InvalidCredentials(
                f"the {what} is empty or has a character that none has, such as a space"
            )
    if api_key is not None:
        return {"x-api-key": api_key}
    return {} if token is None else {"authorization": f"Bearer {token}"}


def options(
    min_score: float | None,
    max_detections: int | None,
    classes: Sequence[str] | str | None,
    tiles: int | None,
) -> DetectOptions:
    """The options of a detection, checked against the schema before anything is sent.

    Args:
        min_score: As in `Blindgate.detect`, and so are the others.
        max_detections: As `min_score`.
        classes: Labels; a text with commas holds several. Spaces around a label are ignored.
        tiles: As `min_score`.

    Raises:
        InvalidOptions: One of them is out of range.
    """
    try:
        return DetectOptions(
            min_score=min_score,
            max_detections=max_detections,
            classes=None if classes is None else _labels(classes),
            tiles=tiles,
        )
    except ValidationError as error:
        raise InvalidOptions(faults_of(error) or str(error)) from None


def _labels(classes: Sequence[str] | str) -> tuple[str, ...]:
    given = classes.split(",") if isinstance(classes, str) else list(classes)
    if not all(isinstance(each, str) for each in given):
        raise InvalidOptions("classes: labels are texts")
    labels = tuple(each.strip() for each in given)
    if not labels:
        raise InvalidOptions("classes: the list is empty; omit it for objects of all labels")
    if "" in labels:
        raise InvalidOptions("classes: a label is empty")
    return tuple(dict.fromkeys(labels))


def target(chosen: DetectOptions) -> str:
    """The path and query of a detection with these options."""
    query: dict[str, object] = chosen.model_dump(exclude_none=True, exclude_defaults=True)
    if chosen.classes is not None:
        query["classes"] = ",".join(chosen.classes)
    return routes.DETECT.path + (f"?{urlencode(query)}" if query else "")


def detection_request(
    http: httpx.Client | httpx.AsyncClient,
    gateway: httpx.URL,
    content: bytes,
    chosen: DetectOptions,
    signed: Mapping[str, str],
) -> httpx.Request:
    """The inner request, with the default headers and timeouts of the httpx client."""
    return http.build_request(
        routes.DETECT.method,
        gateway.join(target(chosen)),
        headers={
            "content-type": images.media_type(content),
            "accept": routes.JSON,
            **signed,
        },
        content=content,
    )


def parse_detections(response: Response, *, sealed_only: bool = True) -> Detections:
    """Parse the response to a detection.

    Args:
        response: The response, opened.
        sealed_only: Refuse a response that was not sealed.

    Raises:
        ProblemError: It is a problem.
        AnswerRejected: It does not follow the schema, or was not sealed.
    """
    if response.status >= 400:
        raise response.problem()
    if (sealed_only and not response.sealed) or response.status != 200:
        raise AnswerRejected(f"the response has the unexpected status {response.status}")
    try:
        return Detections.model_validate_json(response.content)
    except ValidationError as error:
        # The message must not repeat the invalid values: they are the content of the response.
        raise AnswerRejected(
            f"the response does not follow the schema in {error.error_count()} places"
        ) from None


def outer_fields(headers: httpx.Headers) -> Fields:
    """The header fields outside the seal, which the gateway sees."""
    return tuple(pair for pair in _pairs(headers) if pair[0] in OUTER_HEADERS)


def inner_fields(headers: httpx.Headers) -> Fields:
    """The header fields inside the seal, which only the enclave sees."""
    return tuple(pair for pair in _pairs(headers) if pair[0] not in OUTER_HEADERS | _DROPPED)


def _pairs(headers: httpx.Headers) -> list[tuple[str, str]]:
    return [(name.lower(), value.strip(" \t")) for name, value in headers.multi_items()]


def unsealed_problem(response: GatewayResponse) -> Response:
    """A problem that the gateway reports, with only the header fields that a caller needs."""
    kept = ("content-type", "retry-after", "www-authenticate")
    headers = tuple((name, response.headers[name]) for name in kept if name in response.headers)
    return Response(response.status, headers, response.content, sealed=False)


def _members(content: bytes) -> dict[str, Any]:
    try:
        members = json.loads(content)
    except (ValueError, RecursionError):
        return {}
    return members if isinstance(members, dict) else {}


def is_problem(problem: Problem, status: int, content: bytes) -> bool:
    """Whether a response with this status and body reports this problem."""
    return status == problem.status and _members(content).get("type") == problem.type


def _problem(status: int, content: bytes, retry_after: str | None, *, sealed: bool) -> ProblemError:
    seconds = float(retry_after) if retry_after and retry_after.isdecimal() else None
    kind = ProblemError if sealed else GatewayProblem
    return kind(status, _members(content), sealed=sealed, retry_after=seconds)
