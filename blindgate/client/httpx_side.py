"""What the two httpx transports share: httpx's requests and responses, and where they may go."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import httpx

from blindgate.client.errors import AnswerRejected, NotSealed, ProblemError
from blindgate.client.messages import Answer, Outgoing
from blindgate.client.session import MAX_REPLY, Session, VerifiedEnclave
from blindgate.client.trust import TrustLike, resolve

if TYPE_CHECKING:
    from typing import Any

_DEFAULT_PORTS: Final = {"http": 80, "https": 443}


def origin(url: httpx.URL | str) -> httpx.URL:
    """The gateway's origin: scheme, host and port, and nothing else.

    Raises:
        ValueError: It is not an http(s) URL of an origin.
    """
    url = httpx.URL(url)
    if url.scheme not in _DEFAULT_PORTS or not url.host:
        raise ValueError("a gateway is named by an http or https URL")
    if url.raw_path.strip(b"/") or url.userinfo or url.fragment:
        raise ValueError("a gateway is named by scheme, host and port alone (RFC 9540)")
    return url.copy_with(path="/", query=None)


def _same_origin(one: httpx.URL, other: httpx.URL) -> bool:
    def parts(url: httpx.URL) -> tuple[str, str, int | None]:
        return url.scheme, url.host, url.port or _DEFAULT_PORTS.get(url.scheme)

    return parts(one) == parts(other)


class Sealing:
    """What both transports share: building requests and responses of httpx."""

    def __init__(self, gateway: httpx.URL | str, trust: TrustLike) -> None:
        self.gateway = origin(gateway)
        self.session = Session(resolve(trust))

    def __repr__(self) -> str:
        verified = "verified" if self.session.enclave else "not verified"
        return f"<{type(self).__name__} {self.gateway} {verified}>"

    @property
    def enclave(self) -> VerifiedEnclave | None:
        """The enclave that was verified last, or None before the first request."""
        return self.session.enclave

    def _refuse_elsewhere(self, request: httpx.Request) -> None:
        if not _same_origin(request.url, self.gateway):
            raise NotSealed(
                f"{request.url.host} is not the gateway; mount this transport for "
                f"{self.gateway} alone if the client speaks to others too",
                request=request,
            )

    def _outgoing(self, step: Outgoing, extensions: dict[str, Any]) -> httpx.Request:
        return httpx.Request(
            step.method,
            self.gateway.join(step.path),
            headers=list(step.headers),
            content=step.content or None,
            extensions=extensions,
        )


def as_response(answer: Answer, request: httpx.Request) -> httpx.Response:
    """The answer as httpx's callers know it."""
    return httpx.Response(
        answer.status,
        headers=list(answer.headers),
        content=answer.content,
        request=request,
        extensions={"blindgate_sealed": answer.sealed},
    )


def unavailable(problem: ProblemError, request: httpx.Request) -> httpx.Response:
    """A gateway that has no enclave to verify answers like any service that is away."""
    headers = {} if problem.retry_after is None else {"retry-after": f"{problem.retry_after:.0f}"}
    return httpx.Response(
        problem.status,
        headers={"content-type": "application/problem+json", **headers},
        json=problem.members,
        request=request,
        extensions={"blindgate_sealed": False},
    )


def refuse_encoding(response: httpx.Response) -> None:
    """We ask for no compression, and unpacking is where small bodies become large ones."""
    if response.headers.get("content-encoding", "identity") != "identity":
        raise AnswerRejected("the gateway compressed its answer")


def append(content: bytearray, chunk: bytes) -> None:
    """Add a chunk of the gateway's answer.

    Raises:
        AnswerRejected: That is more than any answer can be.
    """
    if len(content) + len(chunk) > MAX_REPLY:
        raise AnswerRejected("the gateway's answer is larger than any can be")
    content += chunk
