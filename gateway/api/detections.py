"""`POST /v1/detections` and its two variants: an envelope in, detections out."""

from __future__ import annotations

from typing import Final

from fastapi import APIRouter, Request, Response

from blindgate import routes
from blindgate.detections import AnswerFormat
from blindgate.routes import FORM
from gateway.api.openapi import DETECT, DETECT_FORM, DETECT_SAMPLE
from gateway.api.requests import (
    Expires,
    Options,
    PlainRoute,
    Plane,
    at,
    dataplane,
    detect_options,
)
from gateway.api.requests import (
    expires as expires_of,
)
from gateway.http.media_types import best_of, content_type

router = APIRouter(tags=["Detections"])


async def detect(request: Request, plane: Plane, options: Options, expires: Expires) -> Response:
    """Find the objects in an encrypted image.

    The body is one envelope, as `blindgate encrypt` and the AWS Encryption SDK write it. It is
    opened inside an attested enclave and nowhere else.
    """
    return await _detect(request, plane, options, expires, routes.DETECT)


async def _handle_detect(request: Request) -> Response:
    plane, options = await dataplane(request), await detect_options(request)
    return await detect(request, plane, options, expires_of(request))


detect_route: Final = PlainRoute(
    routes.DETECT.path,
    detect,
    _handle_detect,
    methods=[routes.DETECT.method],
    tags=router.tags,
    **DETECT,
)


@router.api_route(**at(routes.DETECT_AS_SAMPLE), **DETECT_SAMPLE)
async def detect_as_sample(
    request: Request, plane: Plane, options: Options, expires: Expires
) -> Response:
    """Find the objects in an encrypted image, for programs written for the AWS sample.

    As `POST /v1/detections`, with the response in the shape of the AWS Nitro Enclaves object
    detection sample.
    """
    sample = options.model_copy(update={"format": AnswerFormat.SAMPLE})
    return await _detect(request, plane, sample, expires, routes.DETECT_AS_SAMPLE)


@router.api_route(**at(routes.DETECT_IN_FORM), **DETECT_FORM)
async def detect_in_form(
    request: Request, plane: Plane, options: Options, expires: Expires
) -> Response:
    """Find the objects in an encrypted image that comes in a form.

    As `POST /v1/detections`, with the envelope as the only file of a `multipart/form-data` body.
    """
    return await _detect(request, plane, options, expires, routes.DETECT_IN_FORM)


async def _detect(
    request: Request, plane: Plane, options: Options, expires: float, route: routes.Route
) -> Response:
    media_type = best_of(request, route.response)
    kind = content_type(request, route.request)
    form = request.headers["content-type"] if kind == FORM else None
    answer = await plane.detect(request, options, expires, form)
    headers = {"cache-control": "no-store"}
    return Response(memoryview(answer.body), media_type=media_type, headers=headers)
