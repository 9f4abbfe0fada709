"""The outermost layer: names every request, notes how it ended, and lets no exception out.

Pure ASGI: Starlette's BaseHTTPMiddleware costs 160 microseconds a request.
"""

from __future__ import annotations

import logging
import secrets
import time
from typing import TYPE_CHECKING, Final

from blindgate import problems
from blindgate.link.frames import REQUEST_ID_BYTES
from gateway.problem_answers import answer
from gateway.records import Record, Records
from gateway.timeline import Timeline
from gateway.uploads import ClientGone

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

_log = logging.getLogger(__name__)
_REQUEST_ID: Final = b"x-request-id"
_PARENT: Final = b"traceparent"


class Edge:
    """See the module.

    Args:
        app: The application inside.
        records: Where to note what is over.
    """

    def __init__(self, app: ASGIApp, records: Records) -> None:
        self._app = app
        self._records = records

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        state = scope.setdefault("state", {})
        timeline = state["timeline"] = Timeline()
        # Always our own: one that a client chose could collide, or forge lines in a log.
        request_id = state["request_id"] = secrets.token_hex(REQUEST_ID_BYTES)
        status = 0

        async def send_named(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [
                    *message.get("headers", ()),
                    (_REQUEST_ID, request_id.encode()),
                    *((k.encode(), v.encode()) for k, v in state.get("answer_headers", {}).items()),
                ]
            await send(message)

        gone = False
        try:
            await self._app(scope, receive, send_named)
        except ClientGone:
            gone = True
        except Exception:  # noqa: BLE001 - whatever it is, the client gets a problem
            _log.exception("a request failed", extra={"request_id": request_id})
            if not status:
                refusal = answer(request_id, problems.INTERNAL_ERROR)
                await refusal(scope, receive, send_named)
        finally:
            self._records.add(
                Record(
                    timeline,
                    time.perf_counter(),
                    method=scope["method"],
                    route=getattr(scope.get("route"), "path", None),
                    status=status,
                    problem="client-gone" if gone else state.get("problem"),
                    request_id=request_id,
                    enclave=state.get("enclave"),
                    parent=_parent(scope) if self._records.traced else None,
                )
            )


def _parent(scope: Scope) -> str | None:
    """The `traceparent` header, unless there are several (W3C Trace Context §3.2.2)."""
    found = [value for name, value in scope["headers"] if name == _PARENT]
    return found[0].decode("latin-1") if len(found) == 1 else None
