"""A small convolutional network with everything that quantization touches."""

from __future__ import annotations

from typing import Any

import numpy as np
from onnx import TensorProto, helper, numpy_helper


def residual(side: int = 32, opset: int = 17, images: int | str = 1) -> bytes:
    """Conv, Relu6, depthwise Conv, Relu, Conv, Add, Conv; takes so many images, a name for any."""
    rng = np.random.default_rng(5)
    constants: list[Any] = []

    def constant(name: str, value: Any) -> str:
        constants.append(numpy_helper.from_array(np.asarray(value, np.float32), name))
        return name

    def conv(source: str, name: str, shape: tuple[int, ...], **attributes: Any) -> Any:
        fan_in = int(np.prod(shape[1:]))
        weights = constant(f"{name}/w", rng.normal(0, 1.5 / fan_in**0.5, shape))
        bias = constant(f"{name}/b", rng.normal(0, 0.1, shape[0]))
        return helper.make_node(
            "Conv", [source, weights, bias], [name], name=name, auto_pad="SAME_UPPER", **attributes
        )

    constant("low", 0)
    constant("high", 6)
    nodes = [
        conv("images", "first", (8, 3, 3, 3)),
        helper.make_node("Clip", ["first", "low", "high"], ["clipped"]),
        conv("clipped", "deep", (8, 1, 3, 3), group=8),
        helper.make_node("Relu", ["deep"], ["positive"]),
        conv("positive", "narrow", (8, 8, 1, 1)),
        helper.make_node("Add", ["narrow", "clipped"], ["sum"]),
        conv("sum", "last", (4, 8, 3, 3)),
        helper.make_node("Sigmoid", ["last"], ["output"]),
    ]
    graph = helper.make_graph(
        nodes,
        "residual",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, [images, 3, side, side])],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, [images, 4, side, side])],
        constants,
    )
    opsets = [helper.make_opsetid("", opset)]
    return bytes(helper.make_model(graph, opset_imports=opsets, ir_version=8).SerializeToString())
