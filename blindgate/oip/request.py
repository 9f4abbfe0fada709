"""An inference request: JSON alone, or JSON with the tensor's bytes behind it.

Only the frame is read here. What an image is, or an envelope, nobody looks at.

Clients of the protocol send members that a user cannot leave out (KServe's SDK always sends
`model_name`), so members that the protocol does not give a meaning to here are passed over, as its
other servers do. `parameters` are different: they change what is asked for, so one that is not
known is refused by its name.
"""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass
from typing import Annotated, Any, Final, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    StrictBool,
    StrictInt,
    StrictStr,
    ValidationError,
)
from pydantic.json_schema import SkipJsonSchema, WithJsonSchema
from pydantic_core import PydanticCustomError

from blindgate.detections import DetectOptions, describe_faults, split_labels
from blindgate.oip import elements
from blindgate.oip.errors import OipError
from blindgate.oip.tensors import INPUT, OUTPUTS, unpack_bytes

#: Images in one call. Each is a request of its own to an enclave; more gain nothing.
MAX_IMAGES: Final = 16
#: The JSON part in front of binary tensors: shapes and names, and 100 class names at most.
MAX_HEADER: Final = 64 * 1024
#: HTTP header that says how long the JSON part is.
HEADER_LENGTH: Final = "inference-header-content-length"

#: The parameters that are options of a detection.
_OPTIONS: Final = {"min_score", "max_detections", "classes", "tiles"}

OutputName = Literal[
    "num_detections", "boxes", "scores", "class_ids", "labels", "image_sizes", "errors"
]


class _Open(BaseModel):
    """Further members are passed over."""

    model_config = ConfigDict(frozen=True, extra="ignore", protected_namespaces=())


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


def _refuse(message: str) -> AfterValidator:
    """Refuses a parameter that asks for something; what asks for nothing (0, false) may come."""

    def refuse(value: object) -> object:
        if value:
            raise PydanticCustomError("not_supported", "{message}", {"message": message})
        return value

    return AfterValidator(refuse)


#: Parameters that the protocol's clients have arguments for and this service has no use for. They
#: are not in the OpenAPI document: clients that are made from it need not know them.
_Ignored = SkipJsonSchema[Any]
_Sequence = Annotated[
    SkipJsonSchema[StrictInt | StrictStr | StrictBool | None],
    _refuse("Sequences are not supported: each request is answered by itself"),
]
_SharedMemory = Annotated[
    SkipJsonSchema[StrictStr | StrictInt | None],
    _refuse("Shared memory is not supported: send the data in the request"),
]
_Classification = Annotated[
    SkipJsonSchema[StrictInt | None],
    _refuse("Classification is not supported: ask for the outputs labels and scores"),
]


class InputParameters(_Strict):
    """What is said of the input tensor."""

    binary_data_size: Annotated[
        StrictInt | None,
        Field(ge=0, le=2**32, description="Bytes of the tensor behind the JSON part."),
    ] = None
    content_type: Annotated[
        Literal["base64"] | None, Field(description="How elements in JSON are written.")
    ] = None
    shared_memory_region: _SharedMemory = None
    shared_memory_byte_size: _SharedMemory = None
    shared_memory_offset: _SharedMemory = None
    headers: _Ignored = None


def _without_default(schema: dict[str, Any]) -> None:
    # `data` may be left out, but where it is there it is never null.
    del schema["properties"]["data"]["default"]


class InferInput(_Open):
    """The input: one or several envelopes (or, inside a sealed request, images)."""

    model_config = ConfigDict(json_schema_extra=_without_default)

    name: Annotated[Literal["image"], Field(description="The input's name.")]
    datatype: Annotated[Literal["BYTES"], Field(description="The input's type.")]
    shape: Annotated[
        list[StrictInt],
        Field(min_length=1, max_length=2, description="`[n]` or `[n, 1]`.", examples=[[1]]),
    ]
    parameters: InputParameters | None = None
    data: Annotated[
        list[StrictStr | Annotated[list[StrictStr], Field(max_length=MAX_IMAGES)]] | None,
        Field(max_length=MAX_IMAGES),
        # The protocol lets a tensor be nested as its shape is. Clients that are made from the
        # document need not: several generators make no code that compiles of such a choice.
        WithJsonSchema(
            {
                "type": "array",
                "items": {"type": "string"},
                "maxItems": MAX_IMAGES,
                "description": "Each element in base64; left out if the bytes follow the JSON "
                "part.",
            }
        ),
    ] = None


class RequestParameters(_Strict):
    """What the client asks of the detector, by the names of `POST /v1/detections`."""

    binary_data_output: Annotated[
        StrictBool, Field(description="Answer with binary tensors where nothing else is said.")
    ] = False
    min_score: Annotated[float | None, Field(ge=0, le=1)] = None
    max_detections: Annotated[StrictInt | None, Field(ge=1, le=300)] = None
    classes: Annotated[StrictStr | None, Field(description="Labels with commas between them.")] = (
        None
    )
    tiles: Annotated[StrictInt | None, Field(ge=1, le=3)] = None
    timeout: Annotated[
        StrictInt | None,
        Field(
            ge=0,
            le=2**63 - 1,
            description="Microseconds after which the response is of no use, as Triton's clients "
            "count; 0 for the service's own deadline. A shorter `Request-Timeout` counts.",
        ),
    ] = None
    priority: _Ignored = None
    sequence_id: _Sequence = None
    sequence_start: _Sequence = None
    sequence_end: _Sequence = None
    content_type: _Ignored = None
    headers: _Ignored = None


class OutputParameters(_Strict):
    """How one output is wanted."""

    binary_data: StrictBool | None = None
    classification: _Classification = None
    shared_memory_region: _SharedMemory = None
    shared_memory_byte_size: _SharedMemory = None
    shared_memory_offset: _SharedMemory = None
    content_type: _Ignored = None
    headers: _Ignored = None


class RequestedOutput(_Open):
    """One output that is wanted."""

    name: OutputName
    parameters: OutputParameters | None = None


class InferRequestBody(_Open):
    """The JSON part of an inference request (Open Inference Protocol, version 2)."""

    id: Annotated[
        StrictStr | None,
        Field(max_length=128, pattern=r"^[^\x00-\x1f\x7f]*$", description="Comes back as it is."),
    ] = None
    parameters: RequestParameters | None = None
    inputs: Annotated[list[InferInput], Field(min_length=1, max_length=1)]
    outputs: Annotated[
        list[RequestedOutput] | None,
        Field(max_length=len(OUTPUTS), description="All outputs if left out."),
    ] = None


@dataclass(frozen=True, slots=True)
class InferRequest:
    """A request as this service understands it.

    Attributes:
        id: What the client calls it.
        images: The elements of the input: envelopes, or images where they came sealed.
        options: What is asked of the detector.
        outputs: The outputs that are wanted, each with whether its bytes go behind the JSON.
        timeout: Seconds that the client gives it; None if it does not say.
    """

    id: str | None
    images: tuple[bytes | memoryview, ...]
    options: DetectOptions
    outputs: tuple[tuple[str, bool], ...]
    timeout: float | None = None


def parse_request(
    body: bytes | bytearray | memoryview, header_length: str | None = None
) -> InferRequest:
    """Read a request.

    Args:
        body: The HTTP body. Large elements in base64 are decoded where they lie: what can be
            written to is changed, what cannot is copied first.
        header_length: The `Inference-Header-Content-Length` header, if there is one.

    Raises:
        OipError: It is not a request of this protocol and model.
    """
    view = memoryview(body)
    if view.readonly and header_length is None:
        view = memoryview(bytearray(view))
    length = len(view) if header_length is None else _length(header_length, len(view))
    text = elements.shorten(view[:length])
    try:
        parsed = InferRequestBody.model_validate_json(text.json)
    except ValidationError as error:
        raise OipError(describe_faults(error)) from None
    images = _images(parsed.inputs[0], view[length:], text)
    wanted = parsed.parameters or RequestParameters()
    options, outputs = _options(wanted), _outputs(parsed, wanted)
    timeout = wanted.timeout / 1e6 if wanted.timeout else None
    return InferRequest(parsed.id, images, options, outputs, timeout)


def _length(text: str, most: int) -> int:
    if not re.fullmatch(r"[0-9]{1,10}", text, re.ASCII) or not 0 < int(text) <= most:
        raise OipError.of(HEADER_LENGTH, "Should be the length in bytes of the JSON part")
    if int(text) > MAX_HEADER:
        raise OipError.of(HEADER_LENGTH, f"Should be at most {MAX_HEADER}")
    return int(text)


def _images(
    given: InferInput, rest: memoryview, text: elements.ShortJson
) -> tuple[bytes | memoryview, ...]:
    count = given.shape[0]
    if not 1 <= count <= MAX_IMAGES or given.shape[1:] not in ([], [1]):
        raise OipError.of(
            "inputs.0.shape", f"Should be [n] or [n, 1] with n from 1 to {MAX_IMAGES}"
        )
    size = given.parameters.binary_data_size if given.parameters else None
    if (size is None) == (given.data is None):
        raise OipError.of("inputs.0", "Should have either data or parameters.binary_data_size")
    if (size or 0) != len(rest):
        raise OipError.of(
            "inputs.0.parameters.binary_data_size",
            "Should be the number of bytes behind the JSON part",
        )
    if given.data is None:
        _only_in_data(text, 0)
        return tuple(unpack_bytes(rest, count, f"inputs.0 ({INPUT})"))
    flat = [text for each in given.data for text in ([each] if isinstance(each, str) else each)]
    if len(flat) != count:
        raise OipError.of("inputs.0.data", f"Should have {count} elements, as the shape says")
    _only_in_data(text, sum(text.index_of(each) is not None for each in flat))
    return tuple(_decoded(each, number, text) for number, each in enumerate(flat))


def _only_in_data(text: elements.ShortJson, count: int) -> None:
    if count != len(text.strings):
        most = elements.LONG_STRING
        raise OipError.of("body", f"Only elements of data may be longer than {most} bytes")


def _decoded(element: str, number: int, text: elements.ShortJson) -> bytes | memoryview:
    index = text.index_of(element)
    try:
        if index is not None:
            return elements.decode(text.strings[index])
        return base64.b64decode(element, validate=True)
    except ValueError:
        raise OipError.of(f"inputs.0.data.{number}", "Should be base64") from None


def _options(wanted: RequestParameters) -> DetectOptions:
    values: dict[str, Any] = wanted.model_dump(include=_OPTIONS, exclude_none=True)
    if "classes" in values:
        values["classes"] = split_labels(values["classes"])
    try:
        return DetectOptions.model_validate(values)
    except ValidationError as error:
        faults = describe_faults(error)
        named = [{**each, "parameter": f"parameters.{each['parameter']}"} for each in faults]
        raise OipError(named) from None


def _outputs(parsed: InferRequestBody, wanted: RequestParameters) -> tuple[tuple[str, bool], ...]:
    default = wanted.binary_data_output
    if not parsed.outputs:
        return tuple((name, default) for name in OUTPUTS)
    names = [each.name for each in parsed.outputs]
    if len(set(names)) != len(names):
        raise OipError.of("outputs", "Should name each output once")
    return tuple((each.name, _is_binary(each, default)) for each in parsed.outputs)


def _is_binary(each: RequestedOutput, default: bool) -> bool:
    asked = each.parameters.binary_data if each.parameters else None
    return default if asked is None else asked
