"""What the two httpx transports share: httpx's requests and responses, and where they may go."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import httpx

from blindgate.client.errors import AnswerRejected, InvalidGateway, NotSealed, ProblemError
from blindgate.client.messages import Answer, Outgoing
from blindgate.client.session import MAX_REPLY, Session, VerifiedEnclave
from blindgate.client.trust import TrustLike, resolve
from blindgate.printable import printable

if TYPE_CHECKING:
    from typing import Any

_DEFAULT_PORTS: Final = {"http": 80, "https": 443}
_MAX_PORT: Final = 65_535


def origin(url: httpx.URL | str) -> httpx.URL:
    """The gateway's origin: scheme, host and port, and nothing else.

    Raises:
        InvalidGateway: It is not an http(s) URL of an origin.
    """
    try:
        parsed = httpx.URL(url)
    except (httpx.InvalidURL, TypeError, ValueError) as error:
        raise InvalidGateway(f"this is not the URL of a gateway: {printable(error)}") from None
    if parsed.userinfo or "@" in str(url).partition("://")[2].partition("/")[0]:
        raise InvalidGateway(
            "a gateway's URL holds no user name and no password: give an API key or a token"
        )
    said = printable(url)
    if parsed.scheme not in _DEFAULT_PORTS or not parsed.host:
        # What has no scheme is read as a path, or its host as a scheme.
        bare = bool(said) and "://" not in said and not said.startswith("/")
        example = said.partition("/")[0] if bare else "gateway.example"
        raise InvalidGateway(
            f"{said!r} is not the URL of a gateway: write it as http://{example} or "
            f"https://{example}"
        )
    if parsed.port is not None and not 0 < parsed.port <= _MAX_PORT:
        raise InvalidGateway(f"{said!r} is not the URL of a gateway: there is no such port")
    root = parsed.copy_with(path="/", query=None, fragment=None)
    if parsed.raw_path.strip(b"/") or parsed.fragment:
        raise InvalidGateway(
            f"a gateway is named by scheme, host and port alone (RFC 9540): write "
            f"{str(root).rstrip('/')}"
        )
    return root


def _same_origin(one: httpx.URL, other: httpx.URL) -> bool:
    def parts(url: httpx.URL) -> tuple[str, str, int | None]:
        return url.scheme, url.host, url.port or _DEFAULT_PORTS.get(url.scheme)

    return parts(one) == parts(other)


class Sealing:
    """What both transports share: building requests and responses of httpx."""

    def __init__(self, gateway: httpx.URL | str, trust: TrustLike, *, allow_unsealed: bool) -> None:
        self.gateway = origin(gateway)
        self.session = Session(resolve(trust))
        self._allow_unsealed = allow_unsealed

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

    def _received(self, answer: Answer, request: httpx.Request) -> httpx.Response:
        """The answer as httpx's callers know it, unless it is only the gateway's word.

        Raises:
            GatewayProblem: It did not come sealed, and that is not allowed.
        """
        if not answer.sealed and not self._allow_unsealed:
            raise answer.problem()
        return httpx.Response(
            answer.status,
            headers=list(answer.headers),
            content=answer.content,
            request=request,
            extensions={"blindgate_sealed": answer.sealed},
        )

    def _unavailable(self, problem: ProblemError, request: httpx.Request) -> httpx.Response:
        """A gateway that has no enclave to verify answers like any service that is away.

        Raises:
            ProblemError: Answers that did not come sealed are not allowed.
        """
        if not self._allow_unsealed:
            raise problem
        headers = (
            {} if problem.retry_after is None else {"retry-after": f"{problem.retry_after:.0f}"}
        )
        return httpx.Response(
            problem.status,
            headers={"content-type": "application/problem+json", **headers},
            json=problem.members,
            request=request,
            extensions={"blindgate_sealed": False},
        )

    def _outgoing(self, step: Outgoing, extensions: dict[str, Any]) -> httpx.Request:
        return httpx.Request(
            step.method,
            self.gateway.join(step.path),
            headers=list(step.headers),
            content=step.content or None,
            extensions=extensions,
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
