"""The routes of the HTTP API: method, path, operation and media types, once for all parties.

The gateway registers `ROUTES` and describes them in OpenAPI; the SDK builds its requests from them.
The worker serves those of `INNER` inside sealed requests, where it has no router: `find` is it.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Final
from urllib.parse import unquote

JSON: Final = "application/json"
OCTETS: Final = "application/octet-stream"
FORM: Final = "multipart/form-data"
#: RFC 9458 §3 and §4.
OHTTP_KEYS_TYPE: Final = "application/ohttp-keys"
OHTTP_REQUEST_TYPE: Final = "message/ohttp-req"
OHTTP_RESPONSE_TYPE: Final = "message/ohttp-res"
#: RFC 9052 §10.3, without and with its optional parameter.
COSE: Final = "application/cose"
COSE_SIGN1: Final = f'{COSE}; cose-type="cose-sign1"'

#: All routes of the Open Inference Protocol are below this path.
_PROTOCOL_ROOT: Final = "/v2"
#: `/v2/models/M/versions/V/infer`, the longest path, has seven parts. A path is split into one part
#: more, so that work on a hostile path is bounded.
_MAX_PARTS: Final = 8


class Operation(Enum):
    """What a route does."""

    DETECT = "detect"
    DETECT_AS_SAMPLE = "detect-as-sample"
    DETECT_IN_FORM = "detect-in-form"
    LIST_MODELS = "list-models"
    ATTEST = "attest"
    GET_OHTTP_KEYS = "get-ohttp-keys"
    SEND_SEALED = "send-sealed"
    SERVER_METADATA = "server-metadata"
    SERVER_LIVE = "server-live"
    SERVER_READY = "server-ready"
    MODEL_METADATA = "model-metadata"
    MODEL_READY = "model-ready"
    INFER = "infer"


@dataclass(frozen=True, slots=True)
class Route:
    """One method of one path.

    Attributes:
        method: The HTTP method.
        path: The path; `{model_name}` and `{model_version}` each stand for one part of it.
        operation: What it does. The routes of a model and of its version share one.
        request: Media types of the request's body; empty if it has none.
        response: Media types of a successful response, the default first.
        opens_images: Whether a request with a body is opened and analysed.
    """

    method: str
    path: str
    operation: Operation
    request: tuple[str, ...] = ()
    response: tuple[str, ...] = (JSON,)
    opens_images: bool = False

    @property
    def is_inner(self) -> bool:
        """Whether the worker serves it inside sealed requests."""
        return self.operation not in _OUTER_ONLY


@dataclass(frozen=True, slots=True)
class Match:
    """A route that a path names. The method of the request may be another one.

    Attributes:
        route: The route.
        model: The model that the path names, or None.
        version: The version of the model that the path names, or None.
    """

    route: Route
    model: str | None = None
    version: str | None = None


#: What only the gateway serves: sealed requests carry no forms, and concern a known enclave.
_OUTER_ONLY: Final = frozenset(
    {
        Operation.DETECT_IN_FORM,
        Operation.ATTEST,
        Operation.GET_OHTTP_KEYS,
        Operation.SEND_SEALED,
    }
)
_MODEL: Final = f"{_PROTOCOL_ROOT}/models/{{model_name}}"
_VERSION: Final = f"{_MODEL}/versions/{{model_version}}"
_TENSORS: Final = (JSON, OCTETS)


def _detect(path: str, operation: Operation, *request: str) -> Route:
    return Route("POST", path, operation, request, opens_images=True)


def _infer(path: str) -> Route:
    return Route("POST", path, Operation.INFER, _TENSORS, _TENSORS, opens_images=True)


# A form and `format=sample` came to the first path before they had their own, and still may.
DETECT: Final = _detect("/v1/detections", Operation.DETECT, OCTETS, FORM)
DETECT_AS_SAMPLE: Final = _detect("/v1/detections/sample", Operation.DETECT_AS_SAMPLE, OCTETS)
DETECT_IN_FORM: Final = _detect("/v1/detections/form", Operation.DETECT_IN_FORM, FORM)
LIST_MODELS: Final = Route("GET", "/v1/models", Operation.LIST_MODELS)
# JSON first: generated clients send no Accept and parse the first type.
ATTEST: Final = Route("GET", "/v1/attestation", Operation.ATTEST, response=(JSON, COSE_SIGN1))
GET_OHTTP_KEYS: Final = Route(
    "GET", "/.well-known/ohttp-gateway", Operation.GET_OHTTP_KEYS, response=(OHTTP_KEYS_TYPE,)
)
SEND_SEALED: Final = Route(
    "POST",
    GET_OHTTP_KEYS.path,
    Operation.SEND_SEALED,
    (OHTTP_REQUEST_TYPE,),
    (OHTTP_RESPONSE_TYPE,),
)
SERVER_METADATA: Final = Route("GET", _PROTOCOL_ROOT, Operation.SERVER_METADATA)
SERVER_LIVE: Final = Route("GET", f"{_PROTOCOL_ROOT}/health/live", Operation.SERVER_LIVE)
SERVER_READY: Final = Route("GET", f"{_PROTOCOL_ROOT}/health/ready", Operation.SERVER_READY)
MODEL_METADATA: Final = Route("GET", _MODEL, Operation.MODEL_METADATA)
MODEL_READY: Final = Route("GET", f"{_MODEL}/ready", Operation.MODEL_READY)
INFER: Final = _infer(f"{_MODEL}/infer")
VERSION_METADATA: Final = Route("GET", _VERSION, Operation.MODEL_METADATA)
VERSION_READY: Final = Route("GET", f"{_VERSION}/ready", Operation.MODEL_READY)
INFER_VERSION: Final = _infer(f"{_VERSION}/infer")

ROUTES: Final = (
    DETECT, DETECT_AS_SAMPLE, DETECT_IN_FORM, LIST_MODELS, ATTEST, GET_OHTTP_KEYS, SEND_SEALED,
    SERVER_METADATA, SERVER_LIVE, SERVER_READY, MODEL_METADATA, MODEL_READY, INFER,
    VERSION_METADATA, VERSION_READY, INFER_VERSION,
)  # fmt: skip
#: The routes inside sealed requests. Each path has one method only.
INNER: Final = tuple(route for route in ROUTES if route.is_inner)
_PARTS: Final = tuple((route, route.path.split("/")) for route in INNER)


def find(path: str) -> Match | None:
    """The inner route that a path names, or None. The caller compares the method.

    Args:
        path: The path of a sealed request, percent-encoded, without its query.
    """
    parts = [unquote(part) for part in path.split("/", _MAX_PARTS)]
    for route, pattern in _PARTS:
        if (parameters := _matched(parts, pattern)) is not None:
            model, version = parameters.get("model_name"), parameters.get("model_version")
            return Match(route, model, version)
    return None


def _matched(parts: list[str], pattern: list[str]) -> dict[str, str] | None:
    if len(parts) != len(pattern):
        return None
    parameters = {}
    for part, wanted in zip(parts, pattern, strict=True):
        if wanted.startswith("{") and part:
            parameters[wanted.strip("{}")] = part
        elif part != wanted:
            return None
    return parameters


def is_protocol_path(path: str) -> bool:
    """Whether a path is below that of the Open Inference Protocol, even if it has no route."""
    return path == _PROTOCOL_ROOT or path.startswith(f"{_PROTOCOL_ROOT}/")
