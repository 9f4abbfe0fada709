"""Outermost middleware: request ids, access records, HEAD, unread bodies, unexpected exceptions.

Pure ASGI: Starlette's BaseHTTPMiddleware costs 160 microseconds a request.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sys
import time
from typing import TYPE_CHECKING, Final

from blindgate import problems
from blindgate.errors import BlindgateError
from blindgate.failures import describe
from gateway.context import context_of
from gateway.http import ClientGone
from gateway.http.connections import LINGER_BYTES, LINGER_SECONDS
from gateway.http.problem_responses import answer
from gateway.telemetry.access_log import Record, Records

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

_log = logging.getLogger(__name__)
_REQUEST_ID: Final = b"x-request-id"
_PARENT: Final = b"traceparent"
_CLOSE: Final = (b"connection", b"close")
#: Bytes of an unread body that the server discards after the response, so that the client need not
#: connect (and shake hands for TLS) again.
_SHORT: Final = 1024 * 1024


class Edge:
    """See the module.

    A HEAD request is handled as GET; the server sends no body for it (RFC 9110 §9.3.2).

    A response may be complete before the request's body is. The rest of a short body is discarded
    by the server, and the connection goes on. Before any other connection is closed, the client
    gets a little time to read the response.

    Args:
        app: The application inside.
        records: Where to note completed requests.
    """

    def __init__(self, app: ASGIApp, records: Records) -> None:
        self._app = app
        self._records = records

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, _in_one_line(send))
            return
        context = context_of(scope)
        request_id = context.request_id
        inner = {**scope, "method": "GET"} if scope["method"] == "HEAD" else scope
        unread = _has_body(scope)
        lingers = False
        status, ended = 0, 0.0

        async def receive_body() -> Message:
            nonlocal unread
            message = await receive()
            if message["type"] == "http.request" and not message.get("more_body", False):
                unread = False
            return message

        async def send_named(message: Message) -> None:
            nonlocal status, lingers, ended
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = message["headers"] = [
                    *message.get("headers", ()),
                    (_REQUEST_ID, request_id.encode()),
                    *((k.encode(), v.encode()) for k, v in context.response_headers.items()),
                ]
                closes = _CLOSE in headers or _closes(scope)
                if unread and not closes and not _is_short(scope):
                    await _poll(receive_body)  # it may have arrived already
                    closes = unread
                if unread and closes:
                    lingers = True
                    headers += () if _CLOSE in headers else (_CLOSE,)
            elif not message.get("more_body", False):
                ended = time.perf_counter()
                if lingers:
                    await send({**message, "more_body": True})
                    await _discard(receive)
                    message = {"type": "http.response.body"}
            await send(message)

        gone = False
        try:
            await self._app(inner, receive_body, send_named)
        except ClientGone:
            gone = True
        except Exception:  # noqa: BLE001 - whatever it is, the client gets a problem
            _log.exception("a request failed", extra={"request_id": request_id})
            if not status:
                refusal = answer(request_id, problems.INTERNAL_ERROR)
                await refusal(scope, receive, send_named)
        finally:
            problem = "client-gone" if gone else context.problem
            if context.refused is not None:
                status, problem = context.refused.status, context.refused.slug
            self._records.add(
                Record(
                    context.timeline,
                    ended or time.perf_counter(),
                    method=scope["method"],
                    route=getattr(inner.get("route"), "path", None),
                    status=status,
                    problem=problem,
                    request_id=request_id,
                    enclave=context.enclave,
                    parent=_parent(scope) if self._records.traced else None,
                )
            )


def _in_one_line(send: Send) -> Send:
    """Replace the traceback of a failed start by one line; it is logged by the server."""

    async def send_line(message: Message) -> None:
        # Starlette sends this message while it handles the error.
        error = sys.exception()
        expected = isinstance(error, BlindgateError | OSError)
        if message["type"] == "lifespan.startup.failed" and error is not None and expected:
            message = {**message, "message": describe(error)}
        await send(message)

    return send_line


def _has_body(scope: Scope) -> bool:
    """Whether the head announces a body of at least one byte."""
    return any(
        name == b"transfer-encoding" or (name == b"content-length" and int(value))
        for name, value in scope["headers"]
    )


def _closes(scope: Scope) -> bool:
    """Whether no request follows this one, or its body may never come."""
    return scope["http_version"] == "1.0" or any(
        name == b"expect" or (name == b"connection" and b"close" in value.lower())
        for name, value in scope["headers"]
    )


def _is_short(scope: Scope) -> bool:
    """Whether an unread body is short enough to be discarded for the sake of the connection."""
    return any(
        name == b"content-length" and int(value) <= _SHORT for name, value in scope["headers"]
    )


async def _poll(receive: Receive) -> None:
    """Receive what has arrived of a body, without waiting for more."""
    task = asyncio.ensure_future(receive())
    await asyncio.sleep(0)
    task.cancel()


async def _discard(receive: Receive) -> None:
    """Discard the rest of a body within limits, so that the client can read its response."""
    left = LINGER_BYTES
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(LINGER_SECONDS):
            while left > 0:
                message = await receive()
                if message["type"] != "http.request" or not message.get("more_body", False):
                    return
                left -= len(message.get("body", b""))


def _parent(scope: Scope) -> str | None:
    """The `traceparent` header, unless there are several (W3C Trace Context §3.2.2)."""
    found = [value for name, value in scope["headers"] if name == _PARENT]
    return found[0].decode("latin-1") if len(found) == 1 else None
