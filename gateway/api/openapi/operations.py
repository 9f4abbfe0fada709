"""The operations of this service's own API."""

from __future__ import annotations

from typing import Any, Final

from blindgate import problems
from blindgate.detections import DetectOptions
from blindgate.routes import (
    COSE,
    FORM,
    JSON,
    OCTETS,
    OHTTP_KEYS_TYPE,
    OHTTP_REQUEST_TYPE,
    OHTTP_RESPONSE_TYPE,
)
from gateway.api.openapi.responses import binary, headers, json_ok, operation
from gateway.api.openapi.schemas import Liveness, ModelList, Readiness
from gateway.auth.caller import Scope
from gateway.auth.guard import PUBLIC, Access


def _query_parameters() -> list[dict[str, Any]]:
    """`DetectOptions` as parameters: they are read as a whole, which FastAPI cannot see."""
    schema = DetectOptions.model_json_schema(ref_template="#/components/schemas/{model}")
    parameters = []
    for name, field in schema["properties"].items():
        if name == "format":
            continue  # `/v1/detections/sample`: one schema for each operation
        options = [option for option in field.get("anyOf", [field]) if option != {"type": "null"}]
        shape = {k: v for k, v in options[0].items() if k not in ("description", "title")}
        if "default" in field and field["default"] is not None:
            shape["default"] = field["default"]
        parameters.append(
            {
                "name": name,
                "in": "query",
                "required": False,
                "description": field["description"],
                "schema": shape,
                **({"style": "form", "explode": False} if shape.get("type") == "array" else {}),
            }
        )
    return parameters


_ENVELOPE: Final = "One envelope: the bytes of an encrypted image."
#: Written out, since some generators use a class by its name that they do not make.
_ENVELOPE_FORM: Final[dict[str, Any]] = {
    "schema": {
        "type": "object",
        "description": "A form with one file.",
        "required": ["file"],
        "properties": {"file": binary(_ENVELOPE)["schema"]},
    }
}
_DETECTIONS_EXAMPLE: Final[dict[str, Any]] = {
    "model": {"name": "ssd-mobilenet-v2-coco-int8", "version": "2018.3.29"},
    "image": {"width": 3994, "height": 3235},
    "detections": [
        {
            "label": "airplane",
            "class_id": 5,
            "score": 0.93,
            "box": {"x_min": 1610.5, "y_min": 402.0, "x_max": 2209.25, "y_max": 731.5},
        }
    ],
}
_MODELS_EXAMPLE: Final[dict[str, Any]] = {
    "models": [
        {
            "name": "ssd-mobilenet-v2-coco-int8",
            "version": "2018.3.29",
            "labels": ["person", "airplane"],
        }
    ]
}
_SAMPLE_EXAMPLE: Final[dict[str, Any]] = {
    "objects_detected": [
        {"name": "airplane", "score": 93, "detection_box": [0.124, 0.403, 0.226, 0.553]}
    ]
}
UNAVAILABLE: Final = (
    problems.ENCLAVE_UNAVAILABLE,
    problems.OVERLOADED,
    problems.DEADLINE_EXCEEDED,
    problems.NOT_ACCEPTABLE,
)
UPLOAD: Final = (
    problems.EMPTY_BODY,
    problems.UNSUPPORTED_MEDIA_TYPE,
    problems.BODY_TOO_LARGE,
    problems.UPLOAD_TIMEOUT,
    problems.INVALID_REQUEST,
)

_DETECT_PROBLEMS: Final = (
    *UPLOAD,
    *UNAVAILABLE,
    problems.UPLOAD_INCOMPLETE,
    problems.ENVELOPE_REJECTED,
    problems.IMAGE_REJECTED,
    problems.IMAGE_TOO_LARGE,
    problems.KMS_REFUSED,
    problems.KMS_UNAVAILABLE,
    problems.SEALED_ANSWERS_ONLY,
)


def _detect(
    operation_id: str, summary: str, *, body: dict[str, Any], schema: str, example: dict[str, Any]
) -> dict[str, Any]:
    """One way to detect: one media type in, one schema out.

    Generators of clients cope badly with a choice of either: several make code that does not
    compile, or that demands the members of all schemas of a response.
    """
    return operation(
        operation_id,
        summary,
        _DETECT_PROBLEMS,
        access=Access(Scope.DETECT, units=1),
        ok={
            "description": "What was found, best first.",
            "content": {
                JSON: {"schema": {"$ref": f"#/components/schemas/{schema}"}, "example": example}
            },
        },
        extra={
            "parameters": _query_parameters(),
            "requestBody": {"required": True, "content": body},
        },
    )


DETECT: Final = _detect(
    "detect",
    "Find the objects in an encrypted image",
    body={OCTETS: binary(_ENVELOPE)},
    schema="DetectionList",
    example=_DETECTIONS_EXAMPLE,
)
DETECT_SAMPLE: Final = _detect(
    "detectAsSample",
    "Find the objects in an encrypted image, and answer in the shape of the AWS sample",
    body={OCTETS: binary(_ENVELOPE)},
    schema="SampleDetections",
    example=_SAMPLE_EXAMPLE,
)
DETECT_FORM: Final = _detect(
    "detectInForm",
    "Find the objects in an encrypted image that comes in a form",
    body={FORM: _ENVELOPE_FORM},
    schema="DetectionList",
    example=_DETECTIONS_EXAMPLE,
)
OHTTP_KEYS_OPERATION: Final = operation(
    "getOhttpKeys",
    "Fetch the keys to seal requests to",
    (problems.ENCLAVE_UNAVAILABLE, problems.NOT_ACCEPTABLE),
    access=Access(Scope.ATTEST),
    ok={
        "description": "The key configurations of one enclave (RFC 9458 §3).",
        "content": {OHTTP_KEYS_TYPE: binary("Key configurations, the preferred first.")},
    },
)
OHTTP_OPERATION: Final = operation(
    "sendSealed",
    "Send a request that only the enclave can read",
    (*UPLOAD, *UNAVAILABLE, problems.OHTTP_KEY, problems.OHTTP_REJECTED),
    access=Access(Scope.DETECT, units=1),
    ok={
        "description": "The encapsulated answer (RFC 9458 §4.4).",
        "content": {OHTTP_RESPONSE_TYPE: binary("Only the sender can open it.")},
    },
    extra={
        "requestBody": {
            "required": True,
            "content": {OHTTP_REQUEST_TYPE: binary("An encapsulated request (RFC 9458 §4.3).")},
        }
    },
)
ATTESTATION: Final = operation(
    "getAttestation",
    "Have an enclave prove what it runs",
    (*UNAVAILABLE, problems.INVALID_REQUEST, problems.OHTTP_KEY),
    # An enclave signs a document for each call.
    access=Access(Scope.ATTEST, units=1),
    ok={
        "description": "A fresh attestation document, with the keys beside it in JSON.",
        "content": {
            COSE: binary("A COSE_Sign1 document, signed by the Nitro system."),
            JSON: {
                "schema": {"$ref": "#/components/schemas/Evidence"},
                "example": {"document": "hEShATgioFkRBqlpbW9kdWxlX2lk", "keys": "ACkBABDL1Xk="},
            },
        },
    },
)
MODELS: Final = operation(
    "listModels",
    "List the detectors that run",
    (problems.NOT_ACCEPTABLE,),
    access=Access(Scope.ATTEST),
    ok=json_ok("The detectors and their classes.", ModelList, _MODELS_EXAMPLE),
)
LIVE: Final = operation(
    "isLive",
    "Say that this process answers",
    access=PUBLIC,
    ok=json_ok("It does.", Liveness, {"live": True}),
)
READY: Final = operation(
    "isReady",
    "Say whether a verified enclave takes requests",
    access=PUBLIC,
    ok=json_ok("One does.", Readiness, {"ready": True, "enclaves": {"ready": 2}}),
    also={
        503: {
            **json_ok("None does.", Readiness, {"ready": False, "enclaves": {"verifying": 2}}),
            "headers": headers(),
        }
    },
)
