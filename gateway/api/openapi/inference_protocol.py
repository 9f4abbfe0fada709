"""What the OpenAPI document says of the Open Inference Protocol."""

from __future__ import annotations

from typing import Annotated, Any, Final

from pydantic import BaseModel, ConfigDict, Field

from blindgate import problems
from blindgate.oip import model_metadata, server_metadata
from blindgate.oip.request import HEADER_LENGTH, InferRequestBody
from blindgate.routes import JSON, OCTETS
from gateway.api.openapi import UNAVAILABLE, UPLOAD, binary, headers, operation
from gateway.auth.caller import Scope
from gateway.auth.guard import PUBLIC, Access


class ServerLive(BaseModel):
    """Whether this process answers."""

    live: bool


class ServerReady(BaseModel):
    """Whether a verified enclave takes requests."""

    ready: bool


class ServerMetadata(BaseModel):
    """What this server is."""

    name: str
    version: str
    extensions: list[str]


class TensorMetadata(BaseModel):
    """One tensor that a model takes or gives."""

    name: str
    datatype: Annotated[str, Field(examples=["FP32"])]
    shape: Annotated[list[int], Field(description="-1 where it depends on the request.")]


class ModelMetadata(BaseModel):
    """A detector's tensors."""

    model_config = ConfigDict(protected_namespaces=())

    name: str
    versions: list[str]
    platform: str
    inputs: list[TensorMetadata]
    outputs: list[TensorMetadata]


class ModelReady(BaseModel):
    """Whether a detector runs."""

    name: str
    ready: bool


class InferOutput(BaseModel):
    """One output for all images of the request."""

    name: str
    datatype: str
    shape: list[int]
    parameters: dict[str, int] | None = None
    data: Annotated[
        list[Any] | None,
        Field(
            description="The elements, numbers or texts, flat; left out where the bytes follow "
            "the JSON part."
        ),
    ] = None


class InferAnswerBody(BaseModel):
    """The JSON part of an inference answer."""

    model_config = ConfigDict(title="InferResponse", protected_namespaces=())

    model_name: str
    model_version: str
    id: str | None = None
    outputs: list[InferOutput]


_MODEL: Final = "ssd-mobilenet-v2-coco-int8"
_REQUEST: Final[dict[str, Any]] = {
    "id": "one-photo",
    "parameters": {"min_score": 0.5},
    "inputs": [{"name": "image", "shape": [1], "datatype": "BYTES", "data": ["AgV4c2FtcGxl"]}],
    "outputs": [{"name": "num_detections"}, {"name": "labels"}, {"name": "scores"}],
}
_ANSWER: Final[dict[str, Any]] = {
    "model_name": _MODEL,
    "model_version": "2018.3.29",
    "id": "one-photo",
    "outputs": [
        {"name": "num_detections", "datatype": "INT32", "shape": [1], "data": [1]},
        {"name": "labels", "datatype": "BYTES", "shape": [1, 1], "data": ["airplane"]},
        {"name": "scores", "datatype": "FP32", "shape": [1, 1], "data": [0.93]},
    ],
}


def _ok(description: str, model: type[BaseModel], example: dict[str, Any]) -> dict[str, Any]:
    return {
        "description": description,
        "model": model,
        "content": {JSON: {"example": example}},
    }


def _metadata(operation_id: str, summary: str) -> dict[str, Any]:
    return operation(
        operation_id,
        summary,
        (problems.NOT_FOUND, problems.INVALID_REQUEST, problems.NOT_ACCEPTABLE),
        access=Access(Scope.ATTEST),
        ok=_ok("The tensors.", ModelMetadata, model_metadata(_MODEL, ["2018.3.29"])),
    )


def _model_ready(operation_id: str, summary: str) -> dict[str, Any]:
    return operation(
        operation_id,
        summary,
        (problems.NOT_FOUND, problems.INVALID_REQUEST),
        access=Access(Scope.ATTEST),
        ok=_ok("It runs.", ModelReady, {"name": _MODEL, "ready": True}),
    )


def _infer(operation_id: str, summary: str) -> dict[str, Any]:
    return operation(
        operation_id,
        summary,
        (
            *UPLOAD,
            *UNAVAILABLE,
            problems.NOT_FOUND,
            problems.ENVELOPE_REJECTED,
            problems.IMAGE_REJECTED,
            problems.IMAGE_TOO_LARGE,
            problems.KMS_REFUSED,
            problems.KMS_UNAVAILABLE,
            problems.SEALED_ANSWERS_ONLY,
        ),
        access=Access(Scope.DETECT, units=1),
        ok={
            "description": "The outputs. Tensors follow the JSON part where that was asked for.",
            "headers": {
                "Inference-Header-Content-Length": {
                    "description": "Bytes of the JSON part, where tensors follow it.",
                    "schema": {"type": "integer"},
                }
            },
            "content": {
                JSON: {
                    "schema": {"$ref": "#/components/schemas/InferResponse"},
                    "example": _ANSWER,
                },
                OCTETS: binary("The JSON part and the tensors behind it."),
            },
        },
        extra={
            "parameters": [
                {
                    "name": HEADER_LENGTH.title(),
                    "in": "header",
                    "required": False,
                    "description": "Bytes of the JSON part, where tensors follow it.",
                    "schema": {"type": "integer", "minimum": 1, "maximum": 65536},
                }
            ],
            "requestBody": {
                "required": True,
                "content": {
                    JSON: {
                        "schema": {"$ref": "#/components/schemas/InferRequest"},
                        "example": _REQUEST,
                    },
                    OCTETS: binary("The JSON part and the tensor behind it."),
                },
            },
        },
    )


SERVER_LIVE: Final = operation(
    "isServerLive",
    "Say that this process answers, in the protocol's way",
    access=PUBLIC,
    ok=_ok("It does.", ServerLive, {"live": True}),
)
SERVER_READY: Final = operation(
    "isServerReady",
    "Say whether an enclave takes requests, in the protocol's way",
    access=PUBLIC,
    ok=_ok("One does.", ServerReady, {"ready": True}),
    also={503: {**_ok("None does.", ServerReady, {"ready": False}), "headers": headers()}},
)
SERVER: Final = operation(
    "getServerMetadata",
    "Say what this server is",
    (problems.NOT_ACCEPTABLE,),
    access=Access(Scope.ATTEST),
    ok=_ok("Its name and extensions.", ServerMetadata, server_metadata()),
)
MODEL: Final = _metadata("getModelMetadata", "Describe a detector's tensors")
MODEL_VERSION: Final = _metadata(
    "getModelVersionMetadata", "Describe the tensors of one version of a detector"
)
MODEL_READY: Final = _model_ready("isModelReady", "Say whether a detector runs")
MODEL_VERSION_READY: Final = _model_ready(
    "isModelVersionReady", "Say whether a version of a detector runs"
)
INFER: Final = _infer("infer", "Find the objects in one or several encrypted images")
INFER_VERSION: Final = _infer(
    "inferVersion", "Find the objects in encrypted images with one version of a detector"
)

#: Schemas that operations name although FastAPI does not see them in a signature.
SCHEMAS: Final[dict[str, type[BaseModel]]] = {
    "InferRequest": InferRequestBody,
    "InferResponse": InferAnswerBody,
}
