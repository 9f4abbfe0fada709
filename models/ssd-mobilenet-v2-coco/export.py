"""Turn the frozen `ssd_mobilenet_v2_coco_2018_03_29` graph into ONNX with numpy and onnx alone.

The network between the image preprocessor and the two prediction tensors is translated node by
node; batch normalisation is folded into the convolutions before it. What TensorFlow did with
the predictions is written anew: anchors and box coder of the SSD paper (Liu et al., 2016) with
the constants of the model's `pipeline.config` (tensorflow/models, `ssd_anchor_generator` with
`reduce_boxes_in_lowest_layer`, `faster_rcnn_box_coder`), sigmoid scores without the background
class, and a non-maximum suppression per class.

Input `image`: uint8 `[b, 300, 300, 3]`, RGB, any number of images. Outputs, with n objects on all
of them: `boxes` float32 `[n, 4]` as y_min, x_min, y_max, x_max in 0..1, `scores` float32 `[n]`,
`classes` int64 `[n]` (COCO's category ids, 1 to 90), `images` int64 `[n]` (which of the images,
from 0). The same source gives the same bytes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from onnx import TensorProto, checker, helper, numpy_helper

from models.graphdef import GraphError, Node, read_graph

if TYPE_CHECKING:
    from numpy.typing import NDArray

SIZE: Final = 300
CLASSES: Final = 90
#: Edge lengths of the six feature maps that predict boxes.
GRIDS: Final = (19, 10, 5, 3, 2, 1)
BOX_SCALES: Final = (10.0, 10.0, 5.0, 5.0)
NMS_IOU: Final = 0.6
MAX_PER_CLASS: Final = 100
#: TensorFlow's pipeline keeps everything over 1e-8. What scores less than this never reaches an
#: answer, and leaving it out spares most of the suppression's time.
MIN_SCORE: Final = 0.01
#: Old enough for every onnxruntime of recent years.
OPSET, IR_VERSION = 17, 8


@dataclass
class _Convolution:
    """A convolution that is not written yet, so that scales and offsets can join it."""

    source: str
    weights: NDArray[np.float64]  # [out, in / groups, height, width]
    bias: NDArray[np.float64]  # [out]
    strides: list[int]
    groups: int


_Value = str | _Convolution


class _Exporter:
    """Writes ONNX nodes for the part of the graph that leads to the predictions."""

    def __init__(self, graph: dict[str, Node]) -> None:
        self.graph = graph
        self.nodes: list[Any] = []
        self.constants: list[Any] = []
        self.values: dict[str, _Value] = {}

    def constant(self, name: str, value: NDArray[Any] | np.generic) -> str:
        self.constants.append(numpy_helper.from_array(np.asarray(value, order="C"), name))
        return name

    def write(self, operation: str, inputs: list[str], output: str, **attributes: Any) -> str:
        self.nodes.append(helper.make_node(operation, inputs, [output], name=output, **attributes))
        return output

    def fixed(self, name: str) -> NDArray[np.float64] | None:
        """The value of a node that depends on no image, in double precision; None if it does."""
        node = self.graph[name]
        if node.operation == "Const":
            return None if node.tensor is None else node.tensor.astype(np.float64)
        if node.operation not in {"Identity", "Mul", "Add", "Sub", "Rsqrt"}:
            return None
        values = [self.fixed(source) for source in node.inputs]
        match node.operation, values:
            case "Identity", [value]:
                return value
            case "Rsqrt", [np.ndarray() as value]:
                return np.asarray(1.0 / np.sqrt(value))
            case "Mul", [np.ndarray() as left, np.ndarray() as right]:
                return left * right
            case "Add", [np.ndarray() as left, np.ndarray() as right]:
                return left + right
            case "Sub", [np.ndarray() as left, np.ndarray() as right]:
                return left - right
        return None

    def value(self, name: str) -> _Value:
        """The value of a node that depends on the image."""
        if name not in self.values:
            self.values[name] = self.translate(self.graph[name])
        return self.values[name]

    def tensor(self, name: str) -> str:
        """The same, written out: a waiting convolution becomes a node."""
        value = self.value(name)
        if isinstance(value, _Convolution):
            value = self.values[name] = self.write(
                "Conv",
                [
                    value.source,
                    self.constant(f"{name}/weights", value.weights.astype(np.float32)),
                    self.constant(f"{name}/bias", value.bias.astype(np.float32)),
                ],
                name,
                auto_pad="SAME_UPPER",
                strides=value.strides,
                group=value.groups,
            )
        return value

    def translate(self, node: Node) -> _Value:
        match node.operation:
            case "Identity":
                return self.value(node.inputs[0])
            case "Conv2D" | "DepthwiseConv2dNative":
                return self.convolution(node)
            case "Mul" | "Add" | "BiasAdd":
                factor = self.fixed(node.inputs[1])
                if factor is None and node.operation == "Add":  # a residual connection
                    return self.write("Add", [self.tensor(name) for name in node.inputs], node.name)
                before = self.value(node.inputs[0])
                if isinstance(before, _Convolution) and factor is not None:
                    return _joined(before, factor, times=node.operation == "Mul")
            case "Relu6":
                bounds = [self.constant(f"{node.name}/{end}", np.float32(end)) for end in (0, 6)]
                return self.write("Clip", [self.tensor(node.inputs[0]), *bounds], node.name)
        raise GraphError(f"no translation for {node.operation} {node.name}")

    def convolution(self, node: Node) -> _Convolution:
        weights, strides = self.fixed(node.inputs[1]), node.attributes.get("strides")
        plain = node.attributes.get("dilations", (1, 1, 1, 1)) == (1, 1, 1, 1)
        if weights is None or not isinstance(strides, tuple) or not plain:
            raise GraphError(f"no translation for {node.operation} {node.name}")
        if node.attributes.get("padding") != b"SAME":
            raise GraphError(f"{node.name} does not pad as the network should")
        deep = node.operation == "DepthwiseConv2dNative"
        # [height, width, in, out], and [height, width, in, 1] for a depthwise one
        weights = weights.transpose((2, 3, 0, 1) if deep else (3, 2, 0, 1))
        return _Convolution(
            self.tensor(node.inputs[0]),
            weights,
            np.zeros(len(weights)),
            list(strides[1:3]),
            len(weights) if deep else 1,
        )

    def predictions(self, name: str, width: int) -> str:
        """One of the two prediction tensors as `[b, anchors, width]`."""
        parts = []
        for reshape in self.graph[name].inputs[: len(GRIDS)]:
            source = self.graph[reshape].inputs[0]
            last = self.write(
                "Transpose", [self.tensor(source)], f"{reshape}/nhwc", perm=[0, 2, 3, 1]
            )
            shape = self.constant(f"{reshape}/shape", np.array([0, -1, width], np.int64))
            parts.append(self.write("Reshape", [last, shape], reshape))
        return self.write("Concat", parts, name, axis=1)


def _joined(before: _Convolution, factor: NDArray[np.float64], *, times: bool) -> _Convolution:
    if not times:
        return _Convolution(
            before.source, before.weights, before.bias + factor, before.strides, before.groups
        )
    weights = before.weights * factor[:, None, None, None]
    return _Convolution(before.source, weights, before.bias * factor, before.strides, before.groups)


def anchors() -> NDArray[np.float32]:
    """The 1917 anchors, `[n, 4]`: centre y, centre x, height, width, in 0..1."""
    scales = [*np.linspace(0.2, 0.95, len(GRIDS)).tolist(), 1.0]
    rows: list[tuple[float, float, float, float]] = []
    for layer, grid in enumerate(GRIDS):
        scale = scales[layer]
        kinds = [(scale, ratio) for ratio in (1.0, 2.0, 0.5, 3.0, 1.0 / 3)]
        kinds.append((math.sqrt(scale * scales[layer + 1]), 1.0))
        if layer == 0:
            kinds = [(0.1, 1.0), (scale, 2.0), (scale, 0.5)]
        rows += [
            ((y + 0.5) / grid, (x + 0.5) / grid, size / math.sqrt(ratio), size * math.sqrt(ratio))
            for y in range(grid)
            for x in range(grid)
            for size, ratio in kinds
        ]
    return np.array(rows, np.float32)


def _decode(exporter: _Exporter, encodings: str) -> str:
    """The box coder: offsets in units of the anchor, sizes as logarithms; y1, x1, y2, x2."""
    centres, sizes = np.split(anchors()[None], 2, axis=2)
    scaled = exporter.write(
        "Mul",
        [encodings, exporter.constant("box/scales", 1 / np.array(BOX_SCALES, np.float32))],
        "box/scaled",
    )
    halves = exporter.constant("box/halves", np.array([2, 2], np.int64))
    exporter.nodes.append(
        helper.make_node(
            "Split", [scaled, halves], ["box/shift", "box/growth"], name="box/split", axis=2
        )
    )
    size = exporter.constant("anchor/sizes", sizes)
    shift = exporter.write("Mul", ["box/shift", size], "box/moved")
    centre = exporter.write(
        "Add", [shift, exporter.constant("anchor/centres", centres)], "box/centres"
    )
    grown = exporter.write("Exp", ["box/growth"], "box/grown")
    half = exporter.write(
        "Mul", [grown, exporter.constant("anchor/half-sizes", sizes / 2)], "box/half-sizes"
    )
    low = exporter.write("Sub", [centre, half], "box/low")
    high = exporter.write("Add", [centre, half], "box/high")
    return exporter.write("Concat", [low, high], "box/corners", axis=2)


def _select(exporter: _Exporter, corners: str, logits: str) -> None:
    """Scores, the suppression per class, and the four outputs."""
    constant, write = exporter.constant, exporter.write
    ends = [
        constant(f"class/{name}", np.array([at], np.int64))
        for name, at in (
            ("first", 1),
            ("last", CLASSES + 1),
            ("axis", 2),
        )
    ]
    objects = write("Slice", [logits, *ends], "class/objects")
    scores = write("Sigmoid", [objects], "class/scores")
    by_class = write("Transpose", [scores], "class/by-class", perm=[0, 2, 1])
    chosen = write(
        "NonMaxSuppression",
        [
            corners,
            by_class,
            constant("nms/per-class", np.array([MAX_PER_CLASS], np.int64)),
            constant("nms/iou", np.array([NMS_IOU], np.float32)),
            constant("nms/score", np.array([MIN_SCORE], np.float32)),
        ],
        "nms",
    )  # [n, 3]: batch, class, anchor
    at = {
        name: constant(f"nms/{name}/at", np.array(columns, np.int64))
        for name, columns in (("image", 0), ("class", 1), ("box", [0, 2]))
    }
    write("Gather", [chosen, at["image"]], "images", axis=1)
    kind = write("Gather", [chosen, at["class"]], "nms/class", axis=1)
    box = write("Gather", [chosen, at["box"]], "nms/box", axis=1)
    write("GatherND", [corners, box], "boxes")
    write("GatherND", [by_class, chosen], "scores")
    write("Add", [kind, constant("class/offset", np.int64(1))], "classes")


def export(source: bytes) -> bytes:
    """Export the model.

    Args:
        source: The frozen graph.

    Returns:
        The serialised ONNX model, the same bytes for the same source.

    Raises:
        GraphError: The source is not the graph that this exporter knows.
    """
    exporter = _Exporter(read_graph(source))
    constant, write = exporter.constant, exporter.write
    pixels = write("Cast", ["image"], "input/float", to=TensorProto.FLOAT)
    scaled = write("Mul", [pixels, constant("input/scale", np.float32(2 / 255))], "input/scaled")
    centred = write("Sub", [scaled, constant("input/offset", np.float32(1))], "input/centred")
    exporter.values["Preprocessor/sub"] = write(
        "Transpose", [centred], "input/nchw", perm=[0, 3, 1, 2]
    )
    try:
        encodings = exporter.predictions("concat", 4)
        logits = exporter.predictions("concat_1", CLASSES + 1)
    except (KeyError, IndexError, RecursionError):
        raise GraphError("this is not the graph of ssd_mobilenet_v2_coco_2018_03_29") from None
    _select(exporter, _decode(exporter, encodings), logits)
    graph = helper.make_graph(
        exporter.nodes,
        "ssd-mobilenet-v2-coco",
        [helper.make_tensor_value_info("image", TensorProto.UINT8, ["b", SIZE, SIZE, 3])],
        [
            helper.make_tensor_value_info("boxes", TensorProto.FLOAT, ["n", 4]),
            helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["n"]),
            helper.make_tensor_value_info("classes", TensorProto.INT64, ["n"]),
            helper.make_tensor_value_info("images", TensorProto.INT64, ["n"]),
        ],
        exporter.constants,
    )
    model = helper.make_model(
        graph,
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="blindgate",
        producer_version="1",
    )
    checker.check_model(model)
    return bytes(model.SerializeToString(deterministic=True))
