"""`POST /v1/detections`: an envelope in, detections out."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from gateway.media_types import FORM, JSON, OCTETS, best_of, content_type
from gateway.openapi import DETECT
from gateway.routes.requests import Expires, Options, Plane

router = APIRouter(tags=["Detections"])


@router.post("/v1/detections", **DETECT)
async def detect(request: Request, plane: Plane, options: Options, expires: Expires) -> Response:
    """Find the objects in an encrypted image.

    The body is one envelope, as `blindgate encrypt` and the AWS Encryption SDK write it. It is
    opened inside an attested enclave and nowhere else.
    """
    best_of(request, [JSON])
    kind = content_type(request, [OCTETS, FORM])
    form = request.headers["content-type"] if kind == FORM else None
    answer = await plane.detect(request, options, expires, form)
    return Response(memoryview(answer.body), media_type=JSON, headers={"cache-control": "no-store"})
