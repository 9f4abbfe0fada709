"""What passes between a session and whoever does its input and output."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from blindgate.client.errors import GatewayProblem, ProblemError
from blindgate.sealing import fields

if TYPE_CHECKING:
    import httpx

    from blindgate.problems import Problem
    from blindgate.sealing.fields import Fields

#: What travels outside the seal, because the gateway is who reads it.
OUTER_HEADERS: Final = frozenset(
    {"authorization", "x-api-key", "traceparent", "tracestate", "user-agent"}
)
#: What belongs to one connection, or is said by Binary HTTP itself.
_DROPPED: Final = frozenset(
    {"host", "content-length", "accept-encoding", "connection", "keep-alive", "te", "date",
     "proxy-connection", "proxy-authorization", "transfer-encoding", "upgrade", "expect"}
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Outgoing:
    """One request that goes to the gateway, in the clear as the gateway sees it."""

    method: str
    path: str
    headers: tuple[tuple[str, str], ...] = ()
    content: bytes = field(default=b"", repr=False)


@dataclass(frozen=True, slots=True)
class Reply:
    """What the gateway answered."""

    status: int
    headers: httpx.Headers
    content: bytes = field(repr=False)

    @property
    def media_type(self) -> str:
        """The media type without its parameters."""
        declared: str = self.headers.get("content-type", "")
        return declared.partition(";")[0].strip().lower()


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer to an exchange.

    Attributes:
        status: HTTP status code.
        headers: Names in lower case.
        content: The body.
        sealed: Whether the enclave gave it; if not, it is a problem (4xx, 5xx) of the gateway.
    """

    status: int
    headers: Fields
    content: bytes = field(repr=False)
    sealed: bool

    def header(self, name: str) -> str | None:
        """The value of a header by its lower-case name, or None."""
        return fields.find(self.headers, name)

    def problem(self) -> ProblemError:
        """This answer as an error."""
        return _problem(self.status, self.content, self.header("retry-after"), sealed=self.sealed)


def outer_fields(headers: httpx.Headers) -> Fields:
    """The fields that the gateway is to see, outside the seal."""
    return tuple(pair for pair in _pairs(headers) if pair[0] in OUTER_HEADERS)


def inner_fields(headers: httpx.Headers) -> Fields:
    """The fields that only the enclave is to see."""
    return tuple(pair for pair in _pairs(headers) if pair[0] not in OUTER_HEADERS | _DROPPED)


def _pairs(headers: httpx.Headers) -> list[tuple[str, str]]:
    return [(name.lower(), value.strip(" \t")) for name, value in headers.multi_items()]


def outside(reply: Reply) -> Answer:
    """A problem of the gateway, with no more of its fields than a caller may need."""
    kept = ("content-type", "retry-after", "www-authenticate")
    headers = tuple((name, reply.headers[name]) for name in kept if name in reply.headers)
    return Answer(reply.status, headers, reply.content, sealed=False)


def _members(content: bytes) -> dict[str, Any]:
    try:
        members = json.loads(content)
    except (ValueError, RecursionError):
        return {}
    return members if isinstance(members, dict) else {}


def is_problem(problem: Problem, status: int, content: bytes) -> bool:
    """Whether a status and a body are this problem."""
    return status == problem.status and _members(content).get("type") == problem.type


def _problem(status: int, content: bytes, retry_after: str | None, *, sealed: bool) -> ProblemError:
    seconds = float(retry_after) if retry_after and retry_after.isdecimal() else None
    kind = ProblemError if sealed else GatewayProblem
    return kind(status, _members(content), sealed=sealed, retry_after=seconds)
