"""The tensors that go in and out, and their bytes (little-endian, row-major).

Of several images the one with the most objects sets the second dimension; the rows of the
others are filled up, and `num_detections` says how far each is filled.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from blindgate.detections import LONGEST_NUMBER, Box, Detection, Detections
from blindgate.oip.errors import OipError
from blindgate.problems import CATALOGUE, Problem

INPUT: Final = "image"
_LENGTH: Final = struct.Struct("<I")
#: Bytes of the longest type of a problem, in quotes.
_LONGEST_TYPE: Final = max(len(problem.type) for problem in CATALOGUE) + 2

Result = Detections | Problem


@dataclass(frozen=True, slots=True)
class Tensor:
    """One output.

    Attributes:
        name: Its name.
        datatype: `FP32`, `INT32`, `INT64` or `BYTES`.
        shape: With -1 for what depends on the request, in metadata.
        values: The elements, flat; empty in metadata.
    """

    name: str
    datatype: str
    shape: tuple[int, ...]
    values: Sequence[Any] = ()

    def described(self) -> dict[str, Any]:
        """As metadata and answers name it."""
        return {"name": self.name, "datatype": self.datatype, "shape": list(self.shape)}

    def packed(self) -> bytes:
        """Its bytes in the binary tensor data extension."""
        if self.datatype == "BYTES":
            parts = [text.encode() for text in self.values]
            return b"".join(_LENGTH.pack(len(part)) + part for part in parts)
        code = {"FP32": "f", "INT32": "i", "INT64": "q"}[self.datatype]
        return struct.pack(f"<{len(self.values)}{code}", *self.values)


@dataclass(frozen=True, slots=True)
class _Output:
    datatype: str
    #: The dimensions after [images], or after [images, objects] if `objects` is set.
    rest: tuple[int, ...]
    objects: bool
    of: Callable[[Any], Sequence[Any]]
    filling: tuple[Any, ...] = ()


def _found(result: Result) -> tuple[Detection, ...]:
    return result.detections if isinstance(result, Detections) else ()


def _corners(box: Box) -> tuple[float, ...]:
    return box.x_min, box.y_min, box.x_max, box.y_max


def _size(result: Result) -> tuple[int, int]:
    if isinstance(result, Detections):
        return result.image.width, result.image.height
    return 0, 0


#: Every output, in the order in which they are given.
OUTPUTS: Final[dict[str, _Output]] = {
    "num_detections": _Output("INT32", (), False, lambda r: (len(_found(r)),)),
    "boxes": _Output("FP32", (4,), True, lambda d: _corners(d.box), (0.0,) * 4),
    "scores": _Output("FP32", (), True, lambda d: (d.score,), (0.0,)),
    "class_ids": _Output("INT64", (), True, lambda d: (d.class_id,), (-1,)),
    "labels": _Output("BYTES", (), True, lambda d: (d.label,), ("",)),
    "image_sizes": _Output("INT32", (2,), False, _size),
    "errors": _Output("BYTES", (), False, lambda r: (r.type if isinstance(r, Problem) else "",)),
}


def shared_problem(results: Sequence[Result]) -> Problem | None:
    """The problem that every image met: then it is the answer of the whole call."""
    first = results[0]
    if isinstance(first, Problem) and all(each == first for each in results):
        return first
    return None


def declared_outputs() -> list[Tensor]:
    """The outputs as metadata declares them."""
    return [
        Tensor(name, each.datatype, (-1, *((-1,) if each.objects else ()), *each.rest))
        for name, each in OUTPUTS.items()
    ]


def output(name: str, results: Sequence[Result]) -> Tensor:
    """One output for all images of a request."""
    each = OUTPUTS[name]
    if not each.objects:
        values = [value for result in results for value in each.of(result)]
        return Tensor(name, each.datatype, (len(results), *each.rest), values)
    most = max((len(_found(result)) for result in results), default=0)
    values = []
    for result in results:
        found = _found(result)
        for detection in found:
            values.extend(each.of(detection))
        values.extend(each.filling * (most - len(found)))
    return Tensor(name, each.datatype, (len(results), most, *each.rest), values)


def largest_row(name: str, most: int, label: int, *, binary: bool) -> int:
    """Bytes of the longest row of an output: what it says of one image.

    Args:
        name: The output's name.
        most: Detections in one image.
        label: Bytes of the longest label as JSON writes it, with its quotes.
        binary: Whether it is written as the bytes of a tensor.
    """
    each = OUTPUTS[name]
    count = math.prod(each.rest) * (most if each.objects else 1)
    if each.datatype == "BYTES":
        return count * ((label if each.objects else _LONGEST_TYPE) + _LENGTH.size)
    return count * (8 if binary else LONGEST_NUMBER + 1)


def unpack_bytes(data: memoryview, count: int, parameter: str) -> list[memoryview]:
    """The elements of a BYTES tensor: each is a uint32 length and so many bytes.

    Args:
        data: The tensor's bytes.
        count: How many elements its shape says.
        parameter: Its name in errors.

    Returns:
        Views into `data`; nothing is copied.

    Raises:
        OipError: The lengths do not add up.
    """
    elements: list[memoryview] = []
    at = 0
    while len(elements) < count:
        if at + _LENGTH.size > len(data):
            break
        (length,) = _LENGTH.unpack_from(data, at)
        at += _LENGTH.size
        if length > len(data) - at:
            raise OipError.of(parameter, "An element is longer than what is left of the tensor")
        elements.append(data[at : at + length])
        at += length
    if len(elements) != count or at != len(data):
        raise OipError.of(parameter, f"The tensor should hold {count} elements and nothing more")
    return elements
