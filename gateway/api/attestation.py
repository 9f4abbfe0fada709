"""`GET /v1/attestation`: proof of what the enclave is."""

from __future__ import annotations

import base64
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import JSONResponse
from pydantic import AfterValidator

from blindgate import routes
from blindgate.routes import COSE_SIGN1, JSON
from gateway.api.openapi import ATTESTATION
from gateway.api.requests import Expires, Plane, at
from gateway.http.media_types import best_of

router = APIRouter(tags=["Attestation"])


def _decodes(text: str) -> str:
    # 4n+1 characters, or bits beyond the last byte: no encoder writes these (RFC 4648 §3.5).
    padded = text + "=" * (-len(text) % 4)
    try:
        decoded = base64.urlsafe_b64decode(padded)
    except ValueError:
        decoded = b""
    if base64.urlsafe_b64encode(decoded).rstrip(b"=").decode() != text:
        raise ValueError("not the base64url encoding of any bytes")
    return text


Nonce = Annotated[
    str,
    # 16 to 64 bytes: less could be guessed, more proves nothing more.
    Query(
        min_length=22,
        max_length=86,
        pattern="^[A-Za-z0-9_-]+$",
        description="16 to 64 random bytes in base64url without padding; the document repeats "
        "them, which proves that it is fresh.",
        examples=["bm9uY2UgZm9yIHRoZSBleGFtcGxl"],
    ),
    AfterValidator(_decodes),
]
KeyId = Annotated[
    int | None,
    Query(ge=0, le=255, description="Ask the enclave that holds this OHTTP key."),
]


@router.api_route(**at(routes.ATTEST), **ATTESTATION)
async def get_attestation(
    request: Request, plane: Plane, expires: Expires, nonce: Nonce, key_id: KeyId = None
) -> Response:
    """Have an enclave prove what it runs.

    Verify the document up to AWS's root, compare its measurements with those you trust, and
    check that the SHA-256 of the keys is the one in its `user_data`.
    """
    media_type = best_of(request, routes.ATTEST.response)
    raw = base64.urlsafe_b64decode(nonce + "=" * (-len(nonce) % 4))
    evidence = await plane.attestation(request, raw, key_id, expires)
    headers = {"cache-control": "no-store"}
    if media_type == JSON:
        return JSONResponse(evidence.as_json(), headers=headers)
    return Response(evidence.document, media_type=COSE_SIGN1, headers=headers)
