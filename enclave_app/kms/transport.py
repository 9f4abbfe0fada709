"""HTTPS to KMS through the parent, with TLS that ends in this process.

The parent forwards bytes (vsock-proxy) and can see or change none of them: the server's name and
certificate are checked against the CA bundle inside the image, and against nothing else.
"""

from __future__ import annotations

import logging
import math
import re
import socket
import ssl
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import urllib3.exceptions as problems
from urllib3 import BaseHTTPResponse, HTTPResponse, HTTPSConnectionPool, Timeout
from urllib3.connection import HTTPSConnection

from blindgate.link.errors import DialError
from enclave_app.kms.errors import KmsAnswerRejected, KmsUnavailable, KmsUntrusted

if TYPE_CHECKING:
    from urllib3._base_connection import BaseHTTPConnection

#: vsock-proxy holds a worker for each connection, 4 by default and 32 as we run it, and lets
#: further ones wait silently: few connections, so that several enclaves share one proxy.
MAX_CONNECTIONS: Final = 8
#: An idle connection is given up after this, and with it the proxy's worker, which has no
#: time-out of its own; long enough to bridge the pauses of ordinary traffic.
IDLE_SECONDS: Final = 30.0
#: Dialling and the TLS handshake: two round trips inside a region.
CONNECT_SECONDS: Final = 2.0
#: KMS answers in 5 to 100 ms; a connection silent for longer is dead.
READ_SECONDS: Final = 3.0
#: The largest answer: CiphertextForRecipient of at most 6144 bytes in base64, and names.
MAX_ANSWER_BYTES: Final = 16 * 1024

_REQUEST_ID: Final = re.compile(r"[A-Za-z0-9-]{1,64}")

# At DEBUG, urllib3 and botocore write out requests; botocore's hold the session token.
for _name in ("urllib3", "botocore"):
    logging.getLogger(_name).setLevel(logging.WARNING)


@dataclass(frozen=True, slots=True)
class Reply:
    """KMS's answer as HTTP gives it.

    Attributes:
        status: The HTTP status code.
        body: At most MAX_ANSWER_BYTES.
        request_id: KMS's own id of the request, for the audit trail.
    """

    status: int
    body: bytes = field(repr=False)
    request_id: str | None


class Unreached(KmsUnavailable):
    """This one exchange failed; another attempt may not."""


class KmsTransport:
    """A few kept-alive connections. Safe for any number of threads.

    Args:
        host: The name that the certificate must have, and SNI and the Host header carry.
        ca_bundle: PEM certificates that KMS's chain must end in.
        dial: Opens a connected stream to the way out, given a time-out in seconds.
        clock: Monotonic seconds.

    Raises:
        ssl.SSLError: The bundle holds no certificate.
    """

    def __init__(
        self,
        host: str,
        ca_bundle: str,
        dial: Callable[[float], socket.socket],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._clock = clock
        self._pool = _Pool(
            host,
            maxsize=MAX_CONNECTIONS,
            block=True,
            ssl_context=tls_context(ca_bundle),
            dial=dial,
            clock=clock,
        )

    @property
    def handshakes(self) -> int:
        """Connections that were opened so far."""
        return self._pool.dialled

    def post(self, headers: Mapping[str, str], body: bytes, timeout: float) -> Reply:
        """Send one request and read the whole answer.

        Args:
            headers: Signed headers.
            body: The JSON.
            timeout: Seconds for all of it.

        Raises:
            KmsUntrusted: The peer is not KMS.
            KmsAnswerRejected: The answer is over MAX_ANSWER_BYTES.
            Unreached: Anything else; KMS may or may not have seen the request.
        """
        ends = self._clock() + timeout
        try:
            response = self._pool.urlopen(
                "POST",
                "/",
                body=body,
                headers=dict(headers),
                timeout=Timeout(
                    connect=min(CONNECT_SECONDS, timeout), read=min(READ_SECONDS, timeout)
                ),
                pool_timeout=math.ceil(timeout),
                retries=False,
                redirect=False,
                preload_content=False,
                decode_content=False,
            )
            return self._read(response, ends)
        except problems.SSLError as error:
            if isinstance(error.args[0], ssl.SSLCertVerificationError):
                raise KmsUntrusted from None
            raise Unreached from None
        except (problems.HTTPError, OSError):
            # Others in the pool are likely to be as dead as this one.
            self._pool.close_idle(longer_than=0.0)
            raise Unreached from None

    def close_idle(self) -> None:
        """Give up connections that nobody used for IDLE_SECONDS."""
        self._pool.close_idle(longer_than=IDLE_SECONDS)

    def close(self) -> None:
        """Close what is not in use; the transport takes no more requests."""
        self._pool.close()

    def _read(self, response: BaseHTTPResponse, ends: float) -> Reply:
        request_id = response.headers.get("x-amzn-requestid", "")
        body = bytearray()
        try:
            while chunk := response.read1(MAX_ANSWER_BYTES, decode_content=False):
                body += chunk
                if len(body) > MAX_ANSWER_BYTES:
                    raise KmsAnswerRejected
                if self._clock() > ends:
                    raise Unreached
        except BaseException:
            response.close()
            raise
        finally:
            response.release_conn()
        return Reply(
            response.status,
            bytes(body),
            request_id if _REQUEST_ID.fullmatch(request_id) else None,
        )


def tls_context(ca_bundle: str) -> ssl.SSLContext:
    """TLS 1.2 or newer, host name checked, against these certificates only.

    Made by hand: the factories of ssl and urllib3 also load the system's roots, or write session
    keys where SSLKEYLOGFILE says.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_verify_locations(cadata=ca_bundle)
    return context


class _Connection(HTTPSConnection):
    """A connection that is dialled our way, and sends a request in one write.

    http.client writes the header and the body separately. Behind a proxy that leaves Nagle's
    algorithm on, the second waits for the acknowledgement of the first: 40 ms each time.
    """

    def __init__(self, *args: Any, dial: Callable[[float], socket.socket], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._dial = dial
        self.idle_since = 0.0
        self._request = bytearray()

    def send(self, data: Any) -> None:
        """Keep a part of the request until all of it is there."""
        self._request += data

    def getresponse(self) -> HTTPResponse:  # type: ignore[override]  # as urllib3 has it
        """Send the request and wait for the head of the answer."""
        request, self._request = self._request, bytearray()
        super().send(request)
        return super().getresponse()

    def _new_conn(self) -> socket.socket:
        timeout = self.timeout if isinstance(self.timeout, (int, float)) else CONNECT_SECONDS
        try:
            sock = self._dial(timeout)
        except DialError as error:
            raise problems.NewConnectionError(self, str(error)) from error
        sock.settimeout(timeout)  # for the handshake; urllib3 sets the read time-out after it
        return sock


class _Pool(HTTPSConnectionPool):
    """urllib3's pool, which knows no idle time, with one."""

    ConnectionCls = _Connection

    def __init__(
        self,
        host: str,
        *,
        dial: Callable[[float], socket.socket],
        clock: Callable[[], float],
        **kwargs: Any,
    ) -> None:
        self._clock = clock
        self.dialled = 0

        def counted(timeout: float) -> socket.socket:
            self.dialled += 1
            return dial(timeout)

        super().__init__(host, dial=counted, **kwargs)

    def close_idle(self, longer_than: float) -> None:
        waiting = self.pool
        if waiting is None:
            return
        now = self._clock()
        with waiting.mutex:  # a closed connection stays in its place and is dialled anew when used
            for connection in waiting.queue:
                if connection is not None and now - connection.idle_since >= longer_than:
                    connection.close()

    def _put_conn(self, conn: BaseHTTPConnection | None) -> None:
        if isinstance(conn, _Connection):
            conn.idle_since = self._clock()
        super()._put_conn(conn)
