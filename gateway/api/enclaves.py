"""`GET /v1/enclaves`: for administrators."""

from __future__ import annotations

from fastapi import APIRouter, Request

from blindgate.routes import JSON
from gateway.api.openapi.admin import ENCLAVES, EnclaveList
from gateway.api.requests import Plane
from gateway.http.media_types import best_of

router = APIRouter(tags=["Administration"])


@router.get("/v1/enclaves", **ENCLAVES)
async def list_enclaves(request: Request, plane: Plane) -> EnclaveList:
    """List the enclaves, where they are, and what they have proved."""
    best_of(request, [JSON])
    return EnclaveList.model_validate({"enclaves": plane.enclaves()})
