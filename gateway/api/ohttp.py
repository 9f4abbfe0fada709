"""`/.well-known/ohttp-gateway`: keys out, sealed requests in (RFC 9540, RFC 9458)."""

from __future__ import annotations

from typing import Final

from fastapi import APIRouter, Request, Response

from blindgate import routes
from gateway.api.openapi import OHTTP_KEYS_OPERATION, OHTTP_OPERATION
from gateway.api.requests import Expires, PlainRoute, Plane, at, dataplane
from gateway.api.requests import expires as expires_of
from gateway.http.media_types import best_of, content_type

router = APIRouter(tags=["Sealed requests"])


@router.api_route(**at(routes.GET_OHTTP_KEYS), **OHTTP_KEYS_OPERATION)
async def get_keys(request: Request, plane: Plane) -> Response:
    """Fetch the keys to seal requests to.

    Believe them only after `GET /v1/attestation` has shown which enclave they belong to.
    """
    media_type = best_of(request, routes.GET_OHTTP_KEYS.response)
    return Response(plane.keys(), media_type=media_type, headers={"cache-control": "no-cache"})


async def open_sealed(request: Request, plane: Plane, expires: Expires) -> Response:
    """Send a request that only the enclave can read.

    The body is an encapsulated request whose Binary HTTP content is a `POST /v1/detections`
    with an image, or an envelope, as its body. The answer is sealed to the sender.
    """
    media_type = best_of(request, routes.SEND_SEALED.response)
    content_type(request, routes.SEND_SEALED.request)
    answer = await plane.open_sealed(request, expires)
    headers = {"cache-control": "no-store"}
    return Response(memoryview(answer.body), media_type=media_type, headers=headers)


async def _handle_sealed(request: Request) -> Response:
    return await open_sealed(request, await dataplane(request), expires_of(request))


sealed_route: Final = PlainRoute(
    routes.SEND_SEALED.path,
    open_sealed,
    _handle_sealed,
    methods=[routes.SEND_SEALED.method],
    tags=router.tags,
    **OHTTP_OPERATION,
)
