"""Why a gateway did not answer, in words for a person."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from types import TracebackType
from typing import Final

import httpx

from blindgate.client.errors import ClientError, GatewayUnreachable
from blindgate.printable import printable

#: What OpenSSL calls an answer that is not TLS; the second since its version 3.2.
_NOT_TLS: Final = ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "PACKET_LENGTH_TOO_LONG")


class Reachable:
    """Turns httpx's own errors into `GatewayUnreachable`; ours pass.

    Args:
        gateway: The gateway's origin, for the message.
    """

    def __init__(self, gateway: httpx.URL) -> None:
        self._gateway = gateway

    def __enter__(self) -> None:
        return None

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if isinstance(error, httpx.HTTPError | httpx.InvalidURL) and not isinstance(
            error, ClientError
        ):
            raise GatewayUnreachable(explain(error, self._gateway)) from error


def explain(error: Exception, gateway: httpx.URL) -> str:
    """Why there was no answer, and what to do, without a trailing full stop.

    Args:
        error: What httpx raised.
        gateway: The gateway's origin.
    """
    where = printable(gateway).rstrip("/")
    causes = tuple(_causes(error))
    said = printable(error).rstrip(". ") or type(error).__name__
    for cause in causes:
        if isinstance(cause, ssl.SSLCertVerificationError):
            why = printable(cause.verify_message or said)
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
        return f"the proxy did not let the request to {where} through: {said}"
    if isinstance(error, httpx.ConnectTimeout):
        return f"no connection to {where} in time: is the URL right, and does a firewall allow it?"
    if isinstance(error, httpx.ConnectError):
        return f"no connection to {where}: {said}. Is the gateway running, and is the URL right?"
    if isinstance(error, httpx.TimeoutException):
        return f"{where} did not answer in time"
    if isinstance(error, httpx.RemoteProtocolError | httpx.ReadError) and gateway.scheme == "http":
        return (
            f"{where} broke off without an HTTP response ({said}): is it the port for https, or "
            "is it another service?"
        )
    return f"no answer from {where}: {said}"


def _causes(error: BaseException) -> Iterator[BaseException]:
    """An error and what it was raised from or during."""
    seen: set[int] = set()
    following: BaseException | None = error
    while following is not None and id(following) not in seen:
        seen.add(id(following))
        yield following
        following = following.__cause__ or following.__context__
