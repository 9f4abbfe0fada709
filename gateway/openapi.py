"""What the OpenAPI document says beyond what FastAPI can see.

Bodies that are taken as bytes, media types of answers, and for every operation each problem
that it can answer with.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Final, Self

from pydantic import BaseModel, ConfigDict, Field

from blindgate import problems
from blindgate.detections import Detections, DetectOptions
from blindgate.problems import Problem
from gateway.media_types import FORM, OCTETS, OHTTP_ANSWER, OHTTP_KEYS, OHTTP_REQUEST

if TYPE_CHECKING:
    from gateway.pool.status import ModelStatus


class ParameterFault(BaseModel):
    """What is wrong with one parameter."""

    model_config = ConfigDict(extra="allow")

    parameter: Annotated[str, Field(examples=["min_score"])]
    message: Annotated[str, Field(examples=["Input should be less than or equal to 1"])]


class ProblemDocument(BaseModel):
    """A problem (RFC 9457). Compare `type`; the other members are for people."""

    model_config = ConfigDict(title="Problem", extra="allow")

    type: Annotated[str, Field(description="The stable name of the kind of problem.")]
    title: Annotated[str, Field(description="What happened.")]
    status: Annotated[int, Field(description="The HTTP status code.")]
    detail: Annotated[str, Field(description="What to do next, or words about this occurrence.")]
    request_id: Annotated[str, Field(description="Names this request in the operator's logs.")]
    errors: Annotated[
        list[ParameterFault] | None, Field(description="The faults of an invalid request.")
    ] = None
    limit: Annotated[int | None, Field(description="The limit in bytes that was passed.")] = None


class Model(BaseModel):
    """A detector that runs."""

    name: Annotated[str, Field(examples=["ssd-mobilenet-v2-coco"])]
    version: Annotated[str, Field(examples=["1.0.0"])]
    labels: Annotated[
        list[str], Field(description="The classes it knows.", examples=[["person", "airplane"]])
    ]


class Models(BaseModel):
    """The detectors that run."""

    models: list[Model]

    @classmethod
    def of(cls, running: Iterable[ModelStatus]) -> Self:
        """From what the enclaves say."""
        return cls(
            models=[Model(name=m.name, version=m.version, labels=list(m.labels)) for m in running]
        )


class Evidence(BaseModel):
    """An attestation document and the keys that it vouches for."""

    document: Annotated[
        str,
        Field(
            description="The COSE_Sign1 document.",
            json_schema_extra={"contentEncoding": "base64"},
        ),
    ]
    keys: Annotated[
        str,
        Field(
            description="The `application/ohttp-keys`; their SHA-256 is in `user_data`.",
            json_schema_extra={"contentEncoding": "base64"},
        ),
    ]


class Liveness(BaseModel):
    """Whether this process answers."""

    live: bool


class Readiness(BaseModel):
    """Whether a verified enclave takes requests."""

    ready: bool
    enclaves: Annotated[
        dict[str, int],
        Field(description="How many enclaves are in each state.", examples=[{"ready": 2}]),
    ]


def problem_answers(kinds: Sequence[Problem]) -> dict[int | str, dict[str, Any]]:
    """The answers of some problems, those with one status code together."""
    by_status: dict[int | str, list[Problem]] = {}
    for problem in sorted(kinds, key=lambda p: (p.status, p.type)):
        by_status.setdefault(problem.status, []).append(problem)
    return {
        status: {
            "description": "; ".join(f"{p.title} (`{p.slug}`)" for p in group) + ".",
            "content": {
                problems.MEDIA_TYPE: {
                    "schema": {"$ref": "#/components/schemas/Problem"},
                    "examples": {p.slug: {"summary": p.title, "value": example(p)} for p in group},
                }
            },
        }
        for status, group in by_status.items()
    }


def example(problem: Problem) -> dict[str, Any]:
    """A problem as it may come."""
    members: dict[str, Any] = {"request_id": "5f6b8a0c1d2e3f405162738495a6b7c8"}
    if problem is problems.INVALID_REQUEST:
        message = "Input should be less than or equal to 1"
        members["errors"] = [{"in": "query", "parameter": "min_score", "message": message}]
    if problem is problems.BODY_TOO_LARGE:
        members["limit"] = 20 * 1024 * 1024
    return problem.body(**members)


def binary(description: str) -> dict[str, Any]:
    """A body of bytes."""
    return {"schema": {"type": "string", "format": "binary", "description": description}}


def operation(
    operation_id: str,
    summary: str,
    kinds: Sequence[Problem] = (),
    *,
    ok: dict[str, Any] | None = None,
    extra: dict[str, Any] | None = None,
    also: dict[int | str, dict[str, Any]] | None = None,
) -> dict[str, Any]:
    """The keyword arguments of a FastAPI route."""
    responses = problem_answers([*kinds, problems.INTERNAL_ERROR]) | (also or {})
    if ok is not None:
        responses[200] = ok
    return {
        "operation_id": operation_id,
        "summary": summary,
        "responses": dict(sorted(responses.items(), key=lambda pair: str(pair[0]))),
        "openapi_extra": extra or {},
    }


def _query_parameters() -> list[dict[str, Any]]:
    """`DetectOptions` as parameters: they are read as a whole, which FastAPI cannot see."""
    schema = DetectOptions.model_json_schema(ref_template="#/components/schemas/{model}")
    parameters = []
    for name, field in schema["properties"].items():
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
_DETECTIONS_EXAMPLE: Final[dict[str, Any]] = {
    "model": {"name": "ssd-mobilenet-v2-coco", "version": "1.0.0"},
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
_SAMPLE_EXAMPLE: Final[dict[str, Any]] = {
    "objects_detected": [
        {"name": "airplane", "score": 93, "detection_box": [0.124, 0.403, 0.226, 0.553]}
    ]
}
_SAMPLE_SCHEMA: Final[dict[str, Any]] = {
    "type": "object",
    "title": "SampleDetections",
    "description": "The shape of the AWS Nitro Enclaves object detection sample.",
    "required": ["objects_detected"],
    "properties": {
        "objects_detected": {
            "type": "array",
            "items": {
                "type": "object",
                "title": "SampleDetection",
                "required": ["name", "score", "detection_box"],
                "properties": {
                    "name": {"type": "string"},
                    "score": {"type": "integer", "minimum": 0, "maximum": 100},
                    "detection_box": {
                        "type": "array",
                        "description": "ymin, xmin, ymax, xmax in parts of the image.",
                        "items": {"type": "number"},
                        "minItems": 4,
                        "maxItems": 4,
                    },
                },
            },
        }
    },
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

DETECT: Final = operation(
    "detect",
    "Find the objects in an encrypted image",
    (
        *UPLOAD,
        *UNAVAILABLE,
        problems.UPLOAD_INCOMPLETE,
        problems.ENVELOPE_REJECTED,
        problems.IMAGE_REJECTED,
        problems.KMS_REFUSED,
        problems.KMS_UNAVAILABLE,
        problems.SEALED_ANSWERS_ONLY,
    ),
    ok={
        "description": "What was found, best first.",
        "content": {
            "application/json": {
                "schema": {
                    "anyOf": [{"$ref": "#/components/schemas/Detections"}, _SAMPLE_SCHEMA],
                },
                "examples": {
                    "json": {"summary": "format=json", "value": _DETECTIONS_EXAMPLE},
                    "sample": {"summary": "format=sample", "value": _SAMPLE_EXAMPLE},
                },
            }
        },
    },
    extra={
        "parameters": _query_parameters(),
        "requestBody": {
            "required": True,
            "content": {
                OCTETS: binary(_ENVELOPE),
                FORM: {
                    "schema": {
                        "type": "object",
                        "title": "EnvelopeForm",
                        "required": ["file"],
                        "properties": {"file": binary(_ENVELOPE)["schema"]},
                    }
                },
            },
        },
    },
)
OHTTP_KEYS_OPERATION: Final = operation(
    "getOhttpKeys",
    "Fetch the keys to seal requests to",
    (problems.ENCLAVE_UNAVAILABLE, problems.NOT_ACCEPTABLE),
    ok={
        "description": "The key configurations of one enclave (RFC 9458 §3).",
        "content": {OHTTP_KEYS: binary("Key configurations, the preferred first.")},
    },
)
OHTTP_OPERATION: Final = operation(
    "sendSealed",
    "Send a request that only the enclave can read",
    (*UPLOAD, *UNAVAILABLE, problems.OHTTP_KEY, problems.OHTTP_REJECTED),
    ok={
        "description": "The encapsulated answer (RFC 9458 §4.4).",
        "content": {OHTTP_ANSWER: binary("Only the sender can open it.")},
    },
    extra={
        "requestBody": {
            "required": True,
            "content": {OHTTP_REQUEST: binary("An encapsulated request (RFC 9458 §4.3).")},
        }
    },
)
ATTESTATION: Final = operation(
    "getAttestation",
    "Have an enclave prove what it runs",
    (*UNAVAILABLE, problems.INVALID_REQUEST, problems.OHTTP_KEY),
    ok={
        "description": "A fresh attestation document, with the keys beside it in JSON.",
        "content": {
            "application/cose": binary("A COSE_Sign1 document, signed by the Nitro system."),
            "application/json": {"schema": {"$ref": "#/components/schemas/Evidence"}},
        },
    },
)
MODELS: Final = operation(
    "listModels",
    "List the detectors that run",
    (problems.NOT_ACCEPTABLE,),
    ok={"description": "The detectors and their classes.", "model": Models},
)
LIVE: Final = operation(
    "isLive",
    "Say that this process answers",
    ok={"description": "It does.", "model": Liveness},
)
READY: Final = operation(
    "isReady",
    "Say whether a verified enclave takes requests",
    ok={"description": "One does.", "model": Readiness},
    also={503: {"description": "None does.", "model": Readiness}},
)

#: Schemas that operations name although FastAPI does not see them in a signature.
SCHEMAS: Final = (Detections, Evidence, ProblemDocument)


def complete(document: dict[str, Any], more: Mapping[str, type[BaseModel]]) -> dict[str, Any]:
    """Add the schemas that FastAPI cannot see, and drop its own idea of a validation error.

    Args:
        document: What FastAPI has written.
        more: Further schemas by their names.
    """
    schemas: dict[str, Any] = document.setdefault("components", {}).setdefault("schemas", {})
    for model in (*SCHEMAS, DetectOptions):
        schema = model.model_json_schema(ref_template="#/components/schemas/{model}")
        schemas.update(schema.pop("$defs", {}))
        if model is not DetectOptions:
            schemas[schema["title"]] = schema
    for name, schema_model in more.items():
        schema = schema_model.model_json_schema(ref_template="#/components/schemas/{model}")
        schemas.update(schema.pop("$defs", {}))
        schemas[name] = {**schema, "title": name}
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    document["components"]["schemas"] = dict(sorted(schemas.items()))
    return document
