"""What the OpenAPI document says beyond what FastAPI can see.

Bodies that are taken as bytes, media types of answers, and for every operation each problem
that it can answer with.
"""

from gateway.openapi.answers import binary, headers, operation
from gateway.openapi.document import complete
from gateway.openapi.operations import (
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
from gateway.openapi.schemas import ModelList, Readiness

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
