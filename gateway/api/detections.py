"""`POST /v1/detections` and its two variants: an envelope in, detections out."""

from __future__ import annotations

from typing import Final

from fastapi import APIRouter, Request, Response

from blindgate.detections import AnswerFormat
from gateway.api.openapi import DETECT, DETECT_FORM, DETECT_SAMPLE
from gateway.api.requests import (
    Expires,
    Options,
    PlainRoute,
    Plane,
    dataplane,
    detect_options,
)
from gateway.api.requests import (
    expires as expires_of,
)
from gateway.http.media_types import FORM, JSON, OCTETS, best_of, content_type

router = APIRouter(tags=["Detections"])


async def detect(request: Request, plane: Plane, options: Options, expires: Expires) -> Response:
    """Find the objects in an encrypted image.

    The body is one envelope, as `blindgate encrypt` and the AWS Encryption SDK write it. It is
    opened inside an attested enclave and nowhere else.
    """
    # A form and `format=sample` came here before they had paths of their own, and still may.
    return await _detect(request, plane, options, expires, [OCTETS, FORM])


async def _handle_detect(request: Request) -> Response:
    plane, options = await dataplane(request), await detect_options(request)
    return await detect(request, plane, options, expires_of(request))


detect_route: Final = PlainRoute(
    "/v1/detections", detect, _handle_detect, methods=["POST"], tags=router.tags, **DETECT
)


@router.post("/v1/detections/sample", **DETECT_SAMPLE)
async def detect_as_sample(
    request: Request, plane: Plane, options: Options, expires: Expires
) -> Response:
    """Find the objects in an encrypted image, for programs written for the AWS sample.

    As `POST /v1/detections`, with the response in the shape of the AWS Nitro Enclaves object
    detection sample.
    """
    sample = options.model_copy(update={"format": AnswerFormat.SAMPLE})
    return await _detect(request, plane, sample, expires, [OCTETS])


@router.post("/v1/detections/form", **DETECT_FORM)
async def detect_in_form(
    request: Request, plane: Plane, options: Options, expires: Expires
) -> Response:
    """Find the objects in an encrypted image that comes in a form.

    As `POST /v1/detections`, with the envelope as the only file of a `multipart/form-data` body.
    """
    return await _detect(request, plane, options, expires, [FORM])


async def _detect(
    request: Request, plane: Plane, options: Options, expires: float, allowed: list[str]
) -> Response:
    best_of(request, [JSON])
    kind = content_type(request, allowed)
    form = request.headers["content-type"] if kind == FORM else None
    answer = await plane.detect(request, options, expires, form)
    return Response(memoryview(answer.body), media_type=JSON, headers={"cache-control": "no-store"})
