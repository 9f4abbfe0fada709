"""`/livez` and `/readyz`: for load balancers and supervisors."""

from __future__ import annotations

from fastapi import APIRouter
from fastapi.responses import JSONResponse

from gateway.api.openapi import LIVE, READY, Readiness
from gateway.api.requests import Plane

router = APIRouter(tags=["Health"])


@router.get("/livez", **LIVE)
async def is_live() -> dict[str, bool]:
    """Say that this process answers."""
    return {"live": True}


@router.get("/readyz", **READY)
async def is_ready(plane: Plane) -> JSONResponse:
    """Say whether a verified enclave takes requests; 503 if not."""
    readiness = Readiness.model_validate(plane.readiness())
    return JSONResponse(readiness.model_dump(), status_code=200 if readiness.ready else 503)
