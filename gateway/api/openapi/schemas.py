"""The schemas of answers that no other module has as models."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated, Any, Final, Self

from pydantic import BaseModel, ConfigDict, Field

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
    request_id: Annotated[
        str | None,
        Field(description="Names this request in the operator's logs; not there inside a seal."),
    ] = None
    errors: Annotated[
        list[ParameterFault] | None, Field(description="The faults of an invalid request.")
    ] = None
    limit: Annotated[int | None, Field(description="The limit in bytes that was passed.")] = None


class Model(BaseModel):
    """A detector that runs."""

    name: Annotated[str, Field(examples=["ssd-mobilenet-v2-coco"])]
    version: Annotated[str, Field(examples=["2018.3.29"])]
    labels: Annotated[
        list[str], Field(description="The classes it knows.", examples=[["person", "airplane"]])
    ]


class ModelList(BaseModel):
    """The detectors that run."""

    # Not `Models`: generated clients have a local variable of the class's name beside `models`.
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


#: Schemas that no model of ours has.
WRITTEN: Final[dict[str, dict[str, Any]]] = {
    "SampleDetections": {
        "type": "object",
        "title": "SampleDetections",
        "description": "The shape of the AWS Nitro Enclaves object detection sample.",
        "required": ["objects_detected"],
        "properties": {
            "objects_detected": {
                "type": "array",
                "items": {"$ref": "#/components/schemas/SampleDetection"},
            }
        },
    },
    "SampleDetection": {
        "type": "object",
        "title": "SampleDetection",
        "description": "One object found, in the sample's shape.",
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
