"""What the OpenAPI document says beyond what FastAPI can see.

Bodies that are taken as bytes, media types of answers, and for every operation each problem
that it can answer with.
"""

from gateway.api.openapi.document import complete
from gateway.api.openapi.operations import (
    ATTESTATION,
    DETECT,
    DETECT_FORM,
    DETECT_SAMPLE,
    LIVE,
    MODELS,
    OHTTP_KEYS_OPERATION,
    OHTTP_OPERATION,
    READY,
    UNAVAILABLE,
    UPLOAD,
)
from gateway.api.openapi.responses import binary, headers, operation
from gateway.api.openapi.schemas import ModelList, Readiness

__all__ = [
    "ATTESTATION",
    "DETECT",
    "DETECT_FORM",
    "DETECT_SAMPLE",
    "LIVE",
    "MODELS",
    "OHTTP_KEYS_OPERATION",
    "OHTTP_OPERATION",
    "READY",
    "UNAVAILABLE",
    "UPLOAD",
    "ModelList",
    "Readiness",
    "binary",
    "complete",
    "headers",
    "operation",
]
