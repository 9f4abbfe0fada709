"""`/v2/…`: the Open Inference Protocol, for clients such as `tritonclient`.

Only the protocol's frame is read here; the envelopes in it go to the enclave as they are.
"""

from __future__ import annotations

from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Path, Request, Response
from fastapi.responses import JSONResponse

from blindgate import problems, routes
from blindgate.detections import ModelRef
from blindgate.oip import model_metadata, server_metadata
from blindgate.routes import JSON
from gateway.api.openapi import inference_protocol as described
from gateway.api.requests import Expires, Plane, at
from gateway.auth.guard import charge
from gateway.http.media_types import best_of, content_type
from gateway.http.problem_responses import Refused

router = APIRouter(tags=["Open Inference Protocol"])

Name = Annotated[
    str,
    Path(
        min_length=1,
        max_length=128,
        description="The model's name.",
        examples=["ssd-mobilenet-v2-coco-int8"],
    ),
]
Version = Annotated[
    str, Path(min_length=1, max_length=64, description="Its version.", examples=["2018.3.29"])
]


@router.api_route(**at(routes.SERVER_LIVE), **described.SERVER_LIVE)
async def is_server_live() -> dict[str, bool]:
    """Say that this process answers."""
    return {"live": True}


@router.api_route(**at(routes.SERVER_READY), **described.SERVER_READY)
async def is_server_ready(plane: Plane) -> JSONResponse:
    """Say whether a verified enclave takes requests; 503 if not."""
    ready = bool(plane.readiness()["ready"])
    return JSONResponse({"ready": ready}, status_code=200 if ready else 503)


@router.api_route(**at(routes.SERVER_METADATA), **described.SERVER)
async def get_server_metadata(request: Request) -> dict[str, Any]:
    """Say what this server is and which extensions of the protocol it speaks."""
    best_of(request, [JSON])
    return server_metadata()


@router.api_route(**at(routes.MODEL_METADATA), **described.MODEL)
async def get_model_metadata(request: Request, plane: Plane, model_name: Name) -> dict[str, Any]:
    """Describe a detector's tensors."""
    best_of(request, [JSON])
    return model_metadata(model_name, [each.version for each in _running(plane, model_name)])


@router.api_route(**at(routes.VERSION_METADATA), **described.MODEL_VERSION)
async def get_model_version_metadata(
    request: Request, plane: Plane, model_name: Name, model_version: Version
) -> dict[str, Any]:
    """Describe the tensors of one version of a detector."""
    best_of(request, [JSON])
    return model_metadata(model_name, [_running(plane, model_name, model_version)[0].version])


@router.api_route(**at(routes.MODEL_READY), **described.MODEL_READY)
async def is_model_ready(plane: Plane, model_name: Name) -> dict[str, Any]:
    """Say that a detector runs in a verified enclave; 404 if not."""
    return {"name": _running(plane, model_name)[0].name, "ready": True}


@router.api_route(**at(routes.VERSION_READY), **described.MODEL_VERSION_READY)
async def is_model_version_ready(
    plane: Plane, model_name: Name, model_version: Version
) -> dict[str, Any]:
    """Say that a version of a detector runs in a verified enclave; 404 if not."""
    return {"name": _running(plane, model_name, model_version)[0].name, "ready": True}


@router.api_route(**at(routes.INFER), **described.INFER)
async def infer(request: Request, plane: Plane, expires: Expires, model_name: Name) -> Response:
    """Find the objects in one or several encrypted images.

    Each element of the input is one envelope. An envelope that cannot be opened leaves the
    others alone: `errors` names its problem. If all meet the same, the call fails with it.
    """
    return await _infer(request, plane, expires, _running(plane, model_name)[0])


@router.api_route(**at(routes.INFER_VERSION), **described.INFER_VERSION)
async def infer_version(
    request: Request, plane: Plane, expires: Expires, model_name: Name, model_version: Version
) -> Response:
    """Find the objects in encrypted images with one version of a detector."""
    return await _infer(request, plane, expires, _running(plane, model_name, model_version)[0])


async def _infer(request: Request, plane: Plane, expires: float, model: ModelRef) -> Response:
    best_of(request, routes.INFER.response)
    # Clients of the protocol leave the type out where tensors follow the JSON part.
    if "content-type" in request.headers:
        content_type(request, routes.INFER.request)
    answer = await plane.infer(request, model, expires, partial(charge, request))
    headers = {**answer.headers, "cache-control": "no-store"}
    return Response(answer.body, media_type=answer.content_type, headers=headers)


def _running(plane: Plane, name: str, version: str | None = None) -> list[ModelRef]:
    """The versions of a model that run in verified enclaves.

    Raises:
        Refused: None does.
    """
    found = [
        ModelRef(name=each.name, version=each.version)
        for each in plane.models()
        if each.name == name and version in (None, each.version)
    ]
    if not found:
        raise Refused(problems.NOT_FOUND, "No verified enclave runs this model.")
    return found
