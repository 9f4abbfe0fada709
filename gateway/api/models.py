"""`GET /v1/models`: what the enclaves can find."""

from __future__ import annotations

from fastapi import APIRouter, Request

from blindgate import routes
from gateway.api.openapi import MODELS, ModelList
from gateway.api.requests import Plane, at
from gateway.http.media_types import best_of

router = APIRouter(tags=["Models"])


@router.api_route(**at(routes.LIST_MODELS), **MODELS)
async def list_models(request: Request, plane: Plane) -> ModelList:
    """List the detectors that run, and the classes that they know."""
    best_of(request, routes.LIST_MODELS.response)
    return ModelList.of(plane.models())
