"""Small ONNX networks made for tests."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from onnx import TensorProto, helper, numpy_helper


def constant_detr(logits: Any, boxes: Any, side: int = 64) -> bytes:
    """A network that answers every picture alike: logits `[1, q, c]`, boxes `[1, q, 4]`.

    The pixels take part (times zero), so that the input cannot be dropped.
    """
    values = {"logits": np.asarray(logits, np.float32), "pred_boxes": np.asarray(boxes, np.float32)}
    constants = [numpy_helper.from_array(value, f"{name}/value") for name, value in values.items()]
    constants.append(numpy_helper.from_array(np.array(0, np.float32), "zero"))
    nodes = [
        helper.make_node("ReduceMean", ["images"], ["mean"], keepdims=0),
        helper.make_node("Mul", ["mean", "zero"], ["nothing"]),
        *(helper.make_node("Add", [f"{name}/value", "nothing"], [name]) for name in values),
    ]
    return model(
        nodes,
        [("images", TensorProto.FLOAT, [1, 3, side, side])],
        [(name, TensorProto.FLOAT, list(value.shape)) for name, value in values.items()],
        constants,
    )


def brightness_detr(*, of_all: bool = False, side: int = 64) -> bytes:
    """A network for any number of pictures that sees one object in each which is bright.

    Args:
        of_all: Whether it goes by the brightness of all pictures of a run, as no network should.
        side: Of the input.
    """
    values = {
        "logits": np.array([[[-5, -50, -50]]], np.float32),
        "pred_boxes": np.array([[[0.5, 0.5, 0.5, 0.5]]], np.float32),
        "ten": np.array(10, np.float32),
        "zero": np.array(0, np.float32),
    }
    constants = [numpy_helper.from_array(value, f"{name}/value") for name, value in values.items()]
    constants.append(numpy_helper.from_array(np.array([-1, 1, 1], np.int64), "column"))
    nodes = [
        helper.make_node("ReduceMean", ["images"], ["means"], axes=[1, 2, 3], keepdims=0),
        helper.make_node("Reshape", ["means", "column"], ["each"]),
        helper.make_node("ReduceMean", ["images"], ["all"], keepdims=0),
        helper.make_node("Mul", ["each", "zero/value"], ["nothing"]),
        helper.make_node("Mul", ["all" if of_all else "each", "ten/value"], ["light"]),
        helper.make_node("Add", ["logits/value", "light"], ["lit"]),
        helper.make_node("Add", ["lit", "nothing"], ["logits"]),
        helper.make_node("Add", ["pred_boxes/value", "nothing"], ["pred_boxes"]),
    ]
    return model(
        nodes,
        [("images", TensorProto.FLOAT, ["b", 3, side, side])],
        [("logits", TensorProto.FLOAT, None), ("pred_boxes", TensorProto.FLOAT, None)],
        constants,
    )


def sized_boxes(side: int = 64) -> bytes:
    """Like an official RT-DETR export: a second input holds the picture's size, boxes in pixels."""
    parts = numpy_helper.from_array(np.array([[[0, 0, 0.5, 0.25]]], np.float32), "parts")
    nodes = [
        helper.make_node("Cast", ["orig_target_sizes"], ["size"], to=TensorProto.FLOAT),
        helper.make_node("Concat", ["size", "size"], ["sides"], axis=1),
        helper.make_node("Mul", ["parts", "sides"], ["boxes"]),
        helper.make_node("ReduceMax", ["images"], ["most"], axes=[1, 2, 3], keepdims=0),
        helper.make_node("Mul", ["most", "zero"], ["none"]),
        helper.make_node("Add", ["none", "score"], ["flat"]),
        helper.make_node("Unsqueeze", ["flat", "axis"], ["scores"]),
        helper.make_node("Cast", ["scores"], ["labels"], to=TensorProto.INT64),
    ]
    constants = [
        parts,
        numpy_helper.from_array(np.array(0, np.float32), "zero"),
        numpy_helper.from_array(np.array(0.9, np.float32), "score"),
        numpy_helper.from_array(np.array([1], np.int64), "axis"),
    ]
    return model(
        nodes,
        [
            ("images", TensorProto.FLOAT, [1, 3, side, side]),
            ("orig_target_sizes", TensorProto.INT64, [1, 2]),
        ],
        [
            ("labels", TensorProto.INT64, None),
            ("boxes", TensorProto.FLOAT, None),
            ("scores", TensorProto.FLOAT, None),
        ],
        constants,
    )


def model(
    nodes: list[Any],
    inputs: list[tuple[str, int, Sequence[int | str] | None]],
    outputs: list[tuple[str, int, Sequence[int | str] | None]],
    constants: list[Any],
) -> bytes:
    graph = helper.make_graph(
        nodes,
        "test",
        [helper.make_tensor_value_info(*value) for value in inputs],
        [helper.make_tensor_value_info(*value) for value in outputs],
        constants,
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return bytes(made.SerializeToString())
