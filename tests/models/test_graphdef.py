from __future__ import annotations

import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.graphdef import GraphError, read_graph
from tests.models.protobuf import attribute, field, node, shape, varint

FLOATS = field(1, 1) + shape(2, 2) + field(4, struct.pack("<4f", 1, 2, 3, 4))
GRAPH = (
    node(b"weights", b"Const", more=attribute(b"value", field(8, FLOATS)))
    + node(
        b"conv",
        b"Conv2D",
        b"image",
        b"weights",
        more=attribute(b"strides", field(1, field(3, varint(1) + varint(2))))
        + attribute(b"padding", field(2, b"SAME"))
        + attribute(b"axis", field(3, -1)),
    )
    + field(4, b"versions")
)


def test_nodes_are_read_by_name() -> None:
    graph = read_graph(GRAPH)
    assert list(graph) == ["weights", "conv"]
    conv = graph["conv"]
    assert (conv.operation, conv.inputs) == ("Conv2D", ("image", "weights"))
    assert conv.attributes == {"strides": (1, 2), "padding": b"SAME", "axis": -1}


def constant(tensor: bytes) -> object:
    value = read_graph(node(b"c", b"Const", more=attribute(b"value", field(8, tensor))))["c"].tensor
    return None if value is None else value.tolist()


def test_tensors_in_every_spelling() -> None:
    assert constant(FLOATS) == [[1, 2], [3, 4]]
    one = field(1, 1) + shape(3) + varint(5 << 3 | 5) + struct.pack("<f", 7)
    assert constant(one) == [7, 7, 7]
    packed = field(1, 3) + shape(2) + field(7, varint(5) + varint(-1))
    assert constant(packed) == [5, -1]
    assert constant(field(1, 9) + field(2, b"") + field(10, 6)) == 6
    assert constant(field(1, 7) + shape(1) + field(8, b"text")) is None


@pytest.mark.parametrize(
    "tensor",
    [
        field(1, 1) + shape(3) + field(4, struct.pack("<2f", 1, 2)),
        field(1, 1) + shape(1 << 20, 1 << 20) + field(4, b"\0" * 4),
        field(1, 1) + shape(*[1] * 9) + field(4, b"\0" * 4),
        field(1, 3) + shape(3) + field(7, varint(1) + varint(2)),
        field(1, 1) + shape(1 << 40),
    ],
)
def test_tensors_of_another_size_than_they_say_are_refused(tensor: bytes) -> None:
    with pytest.raises(GraphError):
        constant(tensor)


def test_a_name_twice_is_refused() -> None:
    with pytest.raises(GraphError, match="twice"):
        read_graph(node(b"a", b"Const") * 2)


@given(st.binary(max_size=200))
def test_any_bytes_are_a_graph_or_one_error(data: bytes) -> None:
    try:
        read_graph(data)
    except GraphError:
        pass


@given(st.integers(0, len(GRAPH) - 1), st.integers(0, 255))
def test_a_damaged_graph_is_a_graph_or_one_error(at: int, value: int) -> None:
    damaged = bytearray(GRAPH)
    damaged[at] = value
    try:
        graph = read_graph(bytes(damaged))
    except GraphError:
        return
    assert all(
        node.tensor is None or isinstance(node.tensor, np.ndarray) for node in graph.values()
    )
