"""The answer to an inference request."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from blindgate.detections import ModelRef
from blindgate.oip.request import HEADER_LENGTH, InferRequest
from blindgate.oip.tensors import Result, largest_row, output

JSON: Final = "application/json"
BINARY: Final = "application/octet-stream"
#: The members beside the outputs; the model's name and version and the client's id, each in JSON.
_AROUND_ANSWER: Final = 4096
#: What describes one output.
_AROUND_OUTPUT: Final = 256


@dataclass(frozen=True, slots=True)
class InferAnswer:
    """An answer, ready to be sent.

    Attributes:
        body: JSON, or JSON with tensors behind it.
        header_length: Bytes of the JSON part, where tensors follow it.
    """

    body: bytes = field(repr=False)
    header_length: int | None = None

    @property
    def content_type(self) -> str:
        """Its media type."""
        return JSON if self.header_length is None else BINARY

    @property
    def headers(self) -> dict[str, str]:
        """The HTTP headers beside the content type."""
        return {} if self.header_length is None else {HEADER_LENGTH: str(self.header_length)}


def largest_answer(request: InferRequest, most: int, label: int) -> int:
    """Bytes of the longest answer to a request, whatever its images show.

    Args:
        request: What was asked.
        most: Detections in one image.
        label: Bytes of the longest label as JSON writes it, with its quotes.
    """
    images = len(request.images)
    size = _AROUND_ANSWER + len(request.outputs) * _AROUND_OUTPUT
    for name, binary in request.outputs:
        size += images * largest_row(name, most, label, binary=binary)
    return size


def encode_answer(request: InferRequest, results: Sequence[Result], model: ModelRef) -> InferAnswer:
    """Write the answer.

    Args:
        request: What was asked.
        results: For each image what was found, or the problem that stood in its way.
        model: The detector that was asked.
    """
    outputs: list[dict[str, Any]] = []
    behind: list[bytes] = []
    for name, binary in request.outputs:
        tensor = output(name, results)
        if binary:
            behind.append(tensor.packed())
            said = {"parameters": {"binary_data_size": len(behind[-1])}}
            outputs.append({**tensor.described(), **said})
        else:
            outputs.append({**tensor.described(), "data": list(tensor.values)})
    answer: dict[str, Any] = {"model_name": model.name, "model_version": model.version}
    if request.id is not None:
        answer["id"] = request.id
    head = json.dumps({**answer, "outputs": outputs}, separators=(",", ":")).encode()
    if not behind:
        return InferAnswer(head)
    return InferAnswer(b"".join((head, *behind)), len(head))
