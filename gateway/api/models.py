"""`GET /v1/models`: what the enclaves can find."""

from __future__ import annotations

from fastapi import APIRouter, Request

from gateway.api.openapi import MODELS, ModelList
from gateway.api.requests import Plane
from gateway.http.media_types import JSON, best_of

router = APIRouter(tags=["Models"])


@router.get("/v1/models", **MODELS)
async def list_models(request: Request, plane: Plane) -> ModelList:
    """List the detectors that run, and the classes that they know."""
    best_of(request, [JSON])
    return ModelList.of(plane.models())
