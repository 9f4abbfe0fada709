"""The bridge to httpx: origins, requests and responses, and httpx's errors in plain words."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

import httpx

from blindgate.client.errors import (
    AnswerRejected,
    ClientError,
    GatewayUnreachable,
    InvalidGateway,
    NotSealed,
    ProblemError,
)
from blindgate.client.request import GatewayRequest, Response
from blindgate.client.session import MAX_RESPONSE, Session, VerifiedEnclave
from blindgate.client.trust import TrustLike, resolve
from blindgate.printable import printable

if TYPE_CHECKING:
    from typing import Any

_DEFAULT_PORTS: Final = {"http": 80, "https": 443}
_MAX_PORT: Final = 65_535
#: OpenSSL's reasons for a response that is not TLS; the second since its version 3.2.
_NOT_TLS: Final = ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "PACKET_LENGTH_TOO_LONG")


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
    written = printable(url)
    if parsed.scheme not in _DEFAULT_PORTS or not parsed.host:
        # Without a scheme, the URL is parsed as a path, or its host as a scheme.
        bare = bool(written) and "://" not in written and not written.startswith("/")
        example = written.partition("/")[0] if bare else "gateway.example"
        raise InvalidGateway(
            f"{written!r} is not the URL of a gateway: write it as http://{example} or "
            f"https://{example}"
        )
    if parsed.port is not None and not 0 < parsed.port <= _MAX_PORT:
        raise InvalidGateway(f"{written!r} is not the URL of a gateway: there is no such port")
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


class SealingTransport:
    """Base of both transports: converts to and from httpx's requests and responses."""

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

    def _check_origin(self, request: httpx.Request) -> None:
        if not _same_origin(request.url, self.gateway):
            raise NotSealed(
                f"{request.url.host} is not the gateway; mount this transport for "
                f"{self.gateway} alone if the client speaks to others too",
                request=request,
            )

    def _as_httpx(self, response: Response, request: httpx.Request) -> httpx.Response:
        """The response as httpx's callers expect it.

        Raises:
            GatewayProblem: It was not sealed, and unsealed responses are not allowed.
        """
        if not response.sealed and not self._allow_unsealed:
            raise response.problem()
        return httpx.Response(
            response.status,
            headers=list(response.headers),
            content=response.content,
            request=request,
            extensions={"blindgate_sealed": response.sealed},
        )

    def _unavailable(self, problem: ProblemError, request: httpx.Request) -> httpx.Response:
        """The response of a gateway that has no enclave to verify.

        Raises:
            ProblemError: Unsealed responses are not allowed.
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


def httpx_request(
    gateway: httpx.URL, request: GatewayRequest, extensions: dict[str, Any]
) -> httpx.Request:
    """A request to the gateway as httpx sends it.

    Args:
        gateway: The gateway's origin.
        request: Method, path, header fields and content.
        extensions: httpx's extensions, such as timeouts.
    """
    return httpx.Request(
        request.method,
        gateway.join(request.path),
        headers=list(request.headers),
        content=request.content or None,
        extensions=extensions,
    )


def refuse_encoding(response: httpx.Response) -> None:
    """Refuse a compressed response: none was requested, and decompression has no size limit.

    Raises:
        AnswerRejected: The response has a content encoding.
    """
    if response.headers.get("content-encoding", "identity") != "identity":
        raise AnswerRejected("the gateway compressed its response")


def append_chunk(content: bytearray, chunk: bytes) -> None:
    """Append a chunk of the gateway's response.

    Raises:
        AnswerRejected: The response is larger than the largest valid one.
    """
    if len(content) + len(chunk) > MAX_RESPONSE:
        raise AnswerRejected(f"the gateway's response is larger than {MAX_RESPONSE} bytes")
    content += chunk


@contextmanager
def translated_errors(gateway: httpx.URL) -> Iterator[None]:
    """Turn errors of httpx into `GatewayUnreachable`; the SDK's own errors pass unchanged.

    Args:
        gateway: The gateway's origin, for the message.

    Raises:
        GatewayUnreachable: There was no response from the gateway.
    """
    try:
        yield
    except ClientError:
        raise
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise GatewayUnreachable(explain(error, gateway)) from error


def explain(error: Exception, gateway: httpx.URL) -> str:
    """Why there was no response, and what to do, without a trailing full stop.

    Args:
        error: The error of httpx.
        gateway: The gateway's origin.
    """
    where = printable(gateway).rstrip("/")
    causes = tuple(_causes(error))
    message = printable(error).rstrip(". ") or type(error).__name__
    for cause in causes:
        if isinstance(cause, ssl.SSLCertVerificationError):
            why = printable(cause.verify_message or message)
            return (
                f"the certificate of {where} is not trusted: {why}. Set SSL_CERT_FILE to the "
                "certificates of its authority, if it has one of its own"
            )
        if isinstance(cause, ssl.SSLError) and any(
            name in str(cause).upper().replace(" ", "_") for name in _NOT_TLS
        ):
            plain = str(gateway.copy_with(scheme="http")).rstrip("/")
            return f"{where} does not speak TLS: should it be {plain}?"
        if isinstance(cause, socket.gaierror):
            return f"there is no host {gateway.host}: is the URL right?"
    if isinstance(error, httpx.ProxyError):
        return f"the proxy did not let the request to {where} through: {message}"
    if isinstance(error, httpx.ConnectTimeout):
        return f"no connection to {where} in time: is the URL right, and does a firewall allow it?"
    if isinstance(error, httpx.ConnectError):
        return f"no connection to {where}: {message}. Is the gateway running, and is the URL right?"
    if isinstance(error, httpx.TimeoutException):
        return f"{where} did not respond in time"
    if isinstance(error, httpx.RemoteProtocolError | httpx.ReadError) and gateway.scheme == "http":
        return (
            f"{where} closed the connection without an HTTP response ({message}): is it the "
            "port for https, or is it another service?"
        )
    return f"no response from {where}: {message}"


def _causes(error: BaseException) -> Iterator[BaseException]:
    """An error, its cause, the cause of that, and so on."""
    seen: set[int] = set()
    following: BaseException | None = error
    while following is not None and id(following) not in seen:
        seen.add(id(following))
        yield following
        following = following.__cause__ or following.__context__
