"""A reader for TensorFlow's frozen graphs that needs no TensorFlow.

A frozen graph is one protocol-buffer message, `GraphDef` (tensorflow/core/framework:
`graph.proto`, `node_def.proto`, `attr_value.proto`, `tensor.proto`). An exporter needs a node's
name, operation, inputs and a few attributes; everything else is skipped, and every length is
checked against what is left of the file.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import numpy as np

from blindgate.errors import BlindgateError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

#: The largest graph of the detection zoo has some 20 000 nodes.
MAX_NODES: Final = 100_000
#: The widest frozen detectors are below 500 MB of weights, in one tensor far less.
MAX_TENSOR_BYTES: Final = 1 << 28
MAX_RANK: Final = 8

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_EMPTY: Final = memoryview(b"")
#: `DataType` of tensorflow/core/framework/types.proto, with the field of `TensorProto` that
#: holds short values one by one.
_DTYPES: Final = {1: ("<f4", 5), 3: ("<i4", 7), 9: ("<i8", 10)}


class GraphError(BlindgateError):
    """The file is not a frozen graph that this reader understands."""


Attribute = int | bytes | float | tuple[int, ...] | None


@dataclass(frozen=True)
class Node:
    """One operation of the graph."""

    name: str
    operation: str
    inputs: tuple[str, ...]
    #: Integers, strings, floats and integer lists by name.
    attributes: dict[str, Attribute] = field(default_factory=dict)
    #: The value of a `Const`.
    tensor: NDArray[np.generic] | None = None


def read_graph(data: bytes | memoryview) -> dict[str, Node]:
    """Read a frozen graph.

    Args:
        data: A serialised `GraphDef`.

    Returns:
        The graph's nodes by name.

    Raises:
        GraphError: The bytes are not such a message, or break a limit.
    """
    nodes: dict[str, Node] = {}
    for number, value in _fields(memoryview(data)):
        if number != 1:  # versions, function library
            continue
        node = _node(_message(value))
        if node.name in nodes or len(nodes) >= MAX_NODES:
            raise GraphError(f"node {node.name!r} is there twice, or there are too many nodes")
        nodes[node.name] = node
    return nodes


def _varint(data: memoryview, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(data):
            break
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value & 0xFFFF_FFFF_FFFF_FFFF, at
    raise GraphError("a number in the graph is cut off or too long")


def _fields(data: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    at = 0
    while at < len(data):
        key, at = _varint(data, at)
        number, wire = key >> 3, key & 7
        if wire == _VARINT:
            value, at = _varint(data, at)
            yield number, value
            continue
        if wire == _BYTES:
            length, at = _varint(data, at)
        elif wire in (_FIXED32, _FIXED64):
            length = 4 if wire == _FIXED32 else 8
        else:
            raise GraphError(f"the graph has a field of the unknown wire type {wire}")
        if length > len(data) - at:
            raise GraphError("a field of the graph is longer than what is left of the file")
        yield number, data[at : at + length]
        at += length


def _message(value: int | memoryview) -> memoryview:
    if isinstance(value, int):
        raise GraphError("the graph has a number where a message belongs")
    return value


def _text(value: int | memoryview) -> str:
    try:
        return bytes(_message(value)).decode()
    except UnicodeDecodeError:
        raise GraphError("a name in the graph is not UTF-8") from None


def _signed(value: int) -> int:
    return value - (1 << 64) if value >> 63 else value


def _numbers(value: int | memoryview) -> list[int]:
    """The integers of a repeated field, packed or one by one."""
    if isinstance(value, int):
        return [_signed(value)]
    numbers, at = [], 0
    while at < len(value):
        number, at = _varint(value, at)
        numbers.append(_signed(number))
    return numbers


def _node(data: memoryview) -> Node:
    name, operation = "", ""
    inputs: list[str] = []
    attributes: dict[str, Attribute] = {}
    tensor = None
    for number, value in _fields(data):
        if number == 1:
            name = _text(value)
        elif number == 2:
            operation = _text(value)
        elif number == 3:
            inputs.append(_text(value))
        elif number == 5:
            entry = dict(_fields(_message(value)))  # one entry of a map: key 1, value 2
            content = dict(_fields(_message(entry.get(2, _EMPTY))))
            if 8 in content:
                tensor = _tensor(_message(content[8]))
            else:
                attributes[_text(entry.get(1, _EMPTY))] = _attribute(content)
    return Node(name, operation, tuple(inputs), attributes, tensor)


def _attribute(content: dict[int, int | memoryview]) -> Attribute:
    """One `AttrValue`; None for shapes and functions."""
    if 1 in content:
        numbers: list[int] = []
        for number, value in _fields(_message(content[1])):
            if number == 3:
                numbers += _numbers(value)
        return tuple(numbers)
    if 2 in content:
        return bytes(_message(content[2]))
    for number in (3, 5, 6):  # integer, boolean, data type
        if number in content:
            return _numbers(content[number])[0]
    if 4 in content:
        return float(np.frombuffer(_message(content[4]), "<f4")[0])
    return None


def _tensor(data: memoryview) -> NDArray[np.generic] | None:
    """A `TensorProto` of one of the types that weights come in; None for another type."""
    dtype, raw = 0, _EMPTY
    shape: tuple[int, ...] = ()
    short: list[memoryview | int] = []
    for number, value in _fields(data):
        if number == 1:
            dtype = _numbers(value)[0]
        elif number == 2:
            shape = _shape(_message(value))
        elif number == 4:
            raw = _message(value)
        elif dtype in _DTYPES and number == _DTYPES[dtype][1]:
            short.append(value)
    if dtype not in _DTYPES:
        return None
    kind = np.dtype(_DTYPES[dtype][0])
    count = int(np.prod(shape, dtype=np.int64))
    if count * kind.itemsize > MAX_TENSOR_BYTES:
        raise GraphError("a tensor of the graph is too large")
    if len(raw):
        if len(raw) != count * kind.itemsize:
            raise GraphError("a tensor of the graph has another size than its shape says")
        return np.frombuffer(raw, kind).reshape(shape)
    values: NDArray[np.generic]
    if kind.kind == "f":
        values = np.frombuffer(b"".join(bytes(_message(value)) for value in short), kind)
    else:
        values = np.array([number for value in short for number in _numbers(value)], kind)
    if values.size == 1:  # one value for all elements
        return np.full(shape, values[0])
    if values.size != count:
        raise GraphError("a tensor of the graph has another size than its shape says")
    return values.reshape(shape)


def _shape(data: memoryview) -> tuple[int, ...]:
    shape = []
    for number, dimension in _fields(data):
        if number == 2:
            size = dict(_fields(_message(dimension))).get(1, 0)
            if not isinstance(size, int) or size > MAX_TENSOR_BYTES:
                raise GraphError("a tensor of the graph has an impossible shape")
            shape.append(size)
    if len(shape) > MAX_RANK:
        raise GraphError("a tensor of the graph has too many dimensions")
    return tuple(shape)
