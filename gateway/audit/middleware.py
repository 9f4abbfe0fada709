"""Writes the audit record of each request that reaches an enclave: before its answer, or never.

Requests of which nothing reached an enclave are counted, and share a line a minute
(`gateway.audit.counted`).

Pure ASGI, inside `gateway.http.edge.Edge`, which names the request. Never anything about content:
what is recorded of an envelope is its SHA-256.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import re
from typing import TYPE_CHECKING, Final

from blindgate import routes
from gateway.audit.counted import acts
from gateway.audit.log import AuditUnusable, now
from gateway.context import context_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from blindgate.link.frames import Params
    from gateway.audit.counted import CountedRequests
    from gateway.audit.log import AuditLog
    from gateway.context import RequestContext
    from gateway.pool import Pool
    from gateway.pool.backend import Chunks

#: Health checks come every second or so and say nothing about anybody.
_UNRECORDED: Final = frozenset(
    {"/livez", "/readyz", routes.SERVER_LIVE.path, routes.SERVER_READY.path}
)
#: KMS's request ids are UUIDs.
_KMS_ID: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.ASCII)
#: One envelope takes one call, and a few more while KMS throttles.
_MAX_CALLS: Final = 8
#: Bodies over this are hashed on another thread, while the enclave has them already.
_LARGE: Final = 64 * 1024
#: Seconds between two writings of what is written by the minute.
_PERIOD: Final = 5.0
#: PCR0s of enclaves that left and may still have a request that is not recorded.
_KEPT_PCR0S: Final = 16

_log = logging.getLogger(__name__)


class AuditTrail:
    """See the module.

    Args:
        app: The application inside.
        log: Where the records go.
        counted: Where requests go that have no line of their own.
        pcr0_of: The image's measurement of the enclave at an address, in hex; None if unknown.
    """

    def __init__(
        self,
        app: ASGIApp,
        log: AuditLog,
        counted: CountedRequests,
        pcr0_of: Callable[[str], str | None],
    ) -> None:
        self._app = app
        self._log = log
        self._counted = counted
        self._pcr0_of = pcr0_of

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        context_of(scope).audited = True
        recorded = False

        async def send_recorded(message: Message) -> None:
            nonlocal recorded
            if message["type"] == "http.response.start" and not recorded:
                recorded = True
                self._record(scope, message["status"])
            await send(message)

        try:
            await self._app(scope, receive, send_recorded)
        finally:
            if not recorded:
                self._record(scope, 0)

    def _record(self, scope: Scope, status: int) -> None:
        route = getattr(scope.get("route"), "path", None)
        if route in _UNRECORDED:
            return
        context = context_of(scope)
        caller = context.caller
        operation = getattr(scope.get("route"), "operation_id", None)
        outcome = _outcome(status, context.problem)
        if not acts(
            caller, operation, outcome, reached=bool(context.ciphertexts or context.enclaves)
        ):
            address = scope["client"][0] if scope.get("client") else ""
            self._counted.count(caller, address, outcome)
            return
        self._log.append(
            {
                "time": now(),
                "request_id": context.request_id,
                "caller": str(caller),
                "operation": operation,
                "ciphertexts": context.ciphertexts,
                "enclaves": [
                    {"address": each, "pcr0": self._pcr0_of(each)} for each in context.enclaves
                ],
                "kms": context.kms,
                "outcome": outcome,
            }
        )


def _outcome(status: int, problem: str | None) -> str:
    if not status:
        return "not-answered"
    if problem is not None:
        return problem
    return "ok" if status < 400 else f"status-{status}"


def note_answer(context: RequestContext, enclave: str, params: Params) -> None:
    """Keep for the record which enclave answered, and which calls of KMS it made for that."""
    context.enclave = enclave
    if enclave not in context.enclaves:
        context.enclaves.append(enclave)
    given = params.get("kms")
    calls = given if isinstance(given, list) else []
    # What KMS itself gives; nothing else gets into the log by this way.
    context.kms += [each for each in calls[:_MAX_CALLS] if _KMS_ID.fullmatch(each)]


class Measurements:
    """The PCR0 of each enclave by its address, as the pool has verified it.

    What was verified last stays known for a while, for an enclave may die before its answer is
    recorded.

    Args:
        pool: The enclaves.
    """

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._known: dict[str, str] = {}

    def __call__(self, address: str) -> str | None:
        """The PCR0 in hexadecimal."""
        for keeper in self._pool.keepers():
            if keeper.verified is not None:
                self._known[str(keeper.address)] = keeper.verified.pcr0.hex()
        listed = {str(endpoint.address) for endpoint in self._pool.machine.endpoints}
        for left in [each for each in self._known if each not in listed][:-_KEPT_PCR0S]:
            del self._known[left]
        return self._known.get(address)


async def keep_up(log: AuditLog, counted: CountedRequests) -> None:
    """Write what is due by the minute, and note the head elsewhere, until cancelled."""
    while True:
        await asyncio.sleep(_PERIOD)
        try:
            counted.write_due()
        except (OSError, AuditUnusable) as error:
            _log.error("the audit log cannot be written", extra={"reason": str(error)})
        log.log_head()


class Digest:
    """The SHA-256 of a ciphertext for the record, computed beside the request's own way.

    Args:
        context: The request's; nothing is computed if nothing is recorded.
        body: The ciphertext in pieces.
    """

    def __init__(self, context: RequestContext, body: Chunks) -> None:
        self._context = context
        self._body = body
        self._work: asyncio.Future[str] | None = None

    async def __aenter__(self) -> None:
        if self._context.audited and self._body:
            if sum(map(len, self._body)) > _LARGE:
                self._work = asyncio.ensure_future(asyncio.to_thread(_sha256, self._body))
            else:
                self._work = asyncio.get_running_loop().create_future()
                self._work.set_result(_sha256(self._body))

    async def __aexit__(self, *_: object) -> None:
        if self._work is not None:
            # Also where the request failed: a refused envelope was sent all the same.
            digest = await asyncio.shield(self._work)
            self._context.ciphertexts.append(digest)


def _sha256(pieces: Iterable[bytes | bytearray | memoryview]) -> str:
    digest = hashlib.sha256()
    for piece in pieces:
        digest.update(piece)
    return digest.hexdigest()
