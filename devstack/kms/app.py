"""KMS over HTTP: AWS JSON 1.1, one path, the operation in a header.

https://docs.aws.amazon.com/kms/latest/APIReference/ — every request is `POST /` with
`X-Amz-Target: TrentService.<Operation>`.
"""

from __future__ import annotations

import json
import logging
import uuid
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response
from starlette.routing import Route

from devstack.kms.errors import KmsError, unsupported
from devstack.kms.inputs import serialization_error
from devstack.kms.operations import OPERATIONS, REFUSED
from devstack.kms.service import Service
from devstack.kms.sigv4 import SignedRequest, authenticate

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.requests import Request

    from blindgate.attestation import Root
    from devstack.kms.principals import Principal, Principals
    from devstack.kms.store import Store

#: The largest request is PutKeyPolicy with 32 KiB, or an attestation document in base64.
MAX_BODY = 512 * 1024
_TARGET = "TrentService."
_MEDIA_TYPE = "application/x-amz-json-1.1"

log = logging.getLogger("devstack.kms")


def utc_now() -> datetime:
    """The clock that the service uses unless it is given another."""
    return datetime.now(UTC)


def create_app(
    store: Store,
    *,
    root: Root,
    region: str,
    account: str,
    principals: Principals,
    clock: Callable[[], datetime] = utc_now,
) -> Starlette:
    """Make the application.

    Args:
        store: Keys, aliases and grants.
        root: The root under which attestation documents must have been made.
        region: The region whose KMS this is.
        account: The account that owns the keys, twelve digits.
        principals: Who may call.
        clock: The time, with a time zone.

    Returns:
        An ASGI application; TLS is the server's matter.
    """
    service = Service(
        store, root=root, region=region, account=account, principals=principals, clock=clock
    )

    async def endpoint(request: Request) -> Response:
        request_id = str(uuid.uuid4())
        try:
            body = await _read(request)
            signed = SignedRequest(
                method=request.method,
                path=request.url.path,
                query=request.url.query,
                headers={k.lower(): v for k, v in request.headers.items()},
                body=body,
            )
            # Policies, chains, RSA and the disk: seldom long, but never on the event loop.
            answer = await run_in_threadpool(_answer, service, signed)
        except KmsError as error:
            return _respond(error.body(), request_id, error.status)
        except Exception:
            log.exception("request %s failed", request_id)
            return _respond({"__type": "KMSInternalException"}, request_id, 500)
        return _respond(answer, request_id, 200)

    # Any other path or method must not be answered before its signature was looked at.
    methods = ["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"]
    return Starlette(routes=[Route("/{path:path}", endpoint, methods=methods)])


async def _read(request: Request) -> bytes:
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BODY:
            raise KmsError("RequestEntityTooLargeException", None, 413)
    return bytes(body)


def _answer(service: Service, request: SignedRequest) -> dict[str, Any] | None:
    caller = authenticate(
        request, principals=service.principals, region=service.region, now=service.now()
    )
    target = request.headers.get("x-amz-target", "")
    name = target.removeprefix(_TARGET) if target.startswith(_TARGET) else ""
    try:
        answer = _operate(service, caller, request, name)
    except KmsError as error:
        log.info("%s by %s: refused, %s", name or "?", caller.arn, error.name)
        raise
    log.info("%s by %s: done", name, caller.arn)
    return answer


def _operate(
    service: Service, caller: Principal, request: SignedRequest, name: str
) -> dict[str, Any] | None:
    if name in REFUSED:
        raise unsupported(f"The dev KMS does not do {name}: {REFUSED[name]}.")
    if name not in OPERATIONS or request.method != "POST" or request.path != "/":
        raise KmsError("UnknownOperationException")
    try:
        body = json.loads(request.body or b"{}")
    except (ValueError, RecursionError):
        raise serialization_error() from None
    if not isinstance(body, dict):
        raise serialization_error()
    return OPERATIONS[name](service, caller, body)


def _respond(body: dict[str, Any] | None, request_id: str, status: int) -> Response:
    return Response(
        b"" if body is None else json.dumps(body).encode(),
        status,
        headers={"x-amzn-requestid": request_id, "cache-control": "no-store"},
        media_type=_MEDIA_TYPE,
    )
