"""Static quantization: a float network becomes an int8 network, from measured value ranges.

Static quantization as in Jacob et al., 2018 (arXiv:1712.05877): activations unsigned with one
scale a tensor, weights signed with one scale an output channel, sums in 32 bits. Convolutions,
the residual additions between them and the clipping after them are quantized; everything else,
above all the arithmetic on boxes and scores, stays as it is.

The result is written as QuantizeLinear / DequantizeLinear pairs, which onnxruntime turns into
integer kernels. It is computed from the network and the ranges alone, in double precision, so
that every machine gets the same bytes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np
from onnx import (
    ModelProto,
    NodeProto,
    TensorProto,
    checker,
    helper,
    numpy_helper,
    version_converter,
)

from models.errors import BuildError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from numpy.typing import NDArray

Left = Literal["heads", "depthwise"]

_ACTIVATIONS: Final = frozenset({"Relu", "Clip"})
#: The first with DequantizeLinear by channel.
_OPSET: Final = 13
_TOP: Final = 255  # of an unsigned activation
_REACH: Final = 127  # of a signed weight; -128 is not used, so that the scale is symmetric


class Plan:
    """Which nodes of a network become integers, and which tensors need a range for it.

    What is left as it is, `leave`, can be the convolutions at the network's end (`heads`) and
    those that see one channel each (`depthwise`): where 8 bits cost accuracy, it is mostly there.
    """

    def __init__(self, model: ModelProto, leave: Collection[Left] = ()) -> None:
        self.nodes: list[NodeProto] = list(model.graph.node)
        self.constants = {
            tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer
        }
        self.consumers: dict[str, list[NodeProto]] = {}
        for node in self.nodes:
            for name in node.input:
                self.consumers.setdefault(name, []).append(node)
        self.outputs = {output.name for output in model.graph.output}
        #: By the name of their output.
        self.convolutions = {
            node.output[0]: node
            for node in self.nodes
            if node.op_type == "Conv" and self._has_fixed_weights(node)
        }
        if "heads" in leave:
            for name in self._heads():
                self.convolutions.pop(name)
        if "depthwise" in leave:
            self.convolutions = {
                name: node for name, node in self.convolutions.items() if not self._is_deep(node)
            }
        #: Convolutions and additions by the activation that their integers clip already.
        self.clipped = self._clipped()
        self.additions = self._additions()

    @property
    def tensors(self) -> list[str]:
        """The tensors that are quantized, in the network's order."""
        names: dict[str, None] = {}
        for node in self.nodes:
            output = node.output[0]
            if output in self.convolutions:
                names[node.input[0]] = None
                names[self.clipped.get(output, output)] = None
            elif output in self.additions:
                names |= dict.fromkeys(node.input)
                names[self.clipped.get(output, output)] = None
        return list(names)

    def _has_fixed_weights(self, node: NodeProto) -> bool:
        return all(name in self.constants for name in node.input[1:])

    def _is_deep(self, node: NodeProto) -> bool:
        weights = self.constants[node.input[1]]
        return len(weights) > 1 and weights.shape[1] == 1

    def _heads(self) -> set[str]:
        """Convolutions that lead to no other one."""
        leads: set[str] = set()
        for node in reversed(self.nodes):
            if node.op_type == "Conv" or any(name in leads for name in node.output):
                leads.update(node.input)
        return set(self.convolutions) - leads

    def _clipped(self) -> dict[str, str]:
        found = {}
        for node in self.nodes:
            before = node.input[0] if node.input else ""
            alone = len(self.consumers.get(before, ())) == 1 and before not in self.outputs
            if node.op_type in _ACTIVATIONS and alone and before in self.convolutions:
                found[before] = node.output[0]
        return found

    def _additions(self) -> set[str]:
        """Additions of what convolutions and other additions give."""
        integer = {self.clipped.get(name, name) for name in self.convolutions}
        found: set[str] = set()
        for node in self.nodes:
            if node.op_type == "Add" and all(name in integer for name in node.input):
                found.add(node.output[0])
                integer.add(node.output[0])
        return found


def quantize(
    model: ModelProto, ranges: Mapping[str, tuple[float, float]], leave: Collection[Left] = ()
) -> bytes:
    """Write a network in 8-bit integers.

    Args:
        model: A float network with batch normalisation folded into its convolutions, of opset
            13 or later.
        ranges: Least and greatest value of every tensor in `Plan(model).tensors`.
        leave: What stays in floats, as for `Plan`.

    Returns:
        The serialised network, the same bytes for the same arguments.

    Raises:
        BuildError: A tensor has no range, or nothing in the network can be quantized.
    """
    plan = Plan(model, leave)
    missing = [name for name in plan.tensors if name not in ranges]
    if missing or not plan.convolutions:
        raise BuildError(f"no value range for {', '.join(missing[:3]) or 'any convolution'}")
    writer = _Writer(plan, ranges)
    for source in model.graph.input:
        writer.round(source.name)
    for node in plan.nodes:
        writer.write(node)
    used = {name for node in writer.nodes for name in node.input}
    kept = [tensor for tensor in model.graph.initializer if tensor.name in used]
    graph = helper.make_graph(
        writer.nodes,
        model.graph.name,
        # old exporters list the constants among the inputs
        [source for source in model.graph.input if source.name not in plan.constants],
        list(model.graph.output),
        [*kept, *writer.constants],
    )
    made = helper.make_model(
        graph,
        opset_imports=list(model.opset_import),
        ir_version=model.ir_version,
        producer_name="blindgate",
        producer_version="1",
    )
    checker.check_model(made)
    return bytes(made.SerializeToString(deterministic=True))


def scale_and_zero(low: float, high: float) -> tuple[np.float32, np.uint8]:
    """Scale and zero point of an unsigned tensor, such that 0 is exact."""
    low, high = min(low, 0.0), max(high, 0.0)
    scale = np.float32(max(high - low, 1e-8) / _TOP)
    return scale, np.uint8(min(max(round(-low / float(scale)), 0), _TOP))


def upgraded(model: ModelProto) -> ModelProto:
    """The network with an opset that has scales by channel."""
    opset = next((item.version for item in model.opset_import if not item.domain), 1)
    return model if opset >= _OPSET else version_converter.convert_version(model, _OPSET)


class _Writer:
    """Writes the new network's nodes, in the old one's order."""

    def __init__(self, plan: Plan, ranges: Mapping[str, tuple[float, float]]) -> None:
        self.plan = plan
        self.nodes: list[NodeProto] = []
        self.constants: list[TensorProto] = []
        names = plan.tensors
        self.parameters = {name: scale_and_zero(*ranges[name]) for name in names}
        self.removed = set(plan.clipped.values())

    def write(self, node: NodeProto) -> None:
        """Write one node, and the rounding of what it gives."""
        output = node.output[0]
        if output in self.removed:
            return
        if output in self.plan.convolutions:
            self.convolution(node)
        else:
            inputs = [self.rounded(name) for name in node.input]
            self.emit(node.op_type, inputs, list(node.output), node.name, node.attribute)
        for name in node.output:
            self.round(self.plan.clipped.get(name, name))

    def convolution(self, node: NodeProto) -> None:
        weights, scales = self.weights(node)
        inputs = [self.rounded(node.input[0]), f"{weights}/float"]
        self.emit("DequantizeLinear", [weights, scales], [inputs[1]], axis=0)
        if len(node.input) > 2:
            bias, sums = f"{node.input[2]}/int32", self.sums(node)
            self.constant(f"{bias}/scale", sums.astype(np.float32))
            rounded = np.rint(self.plan.constants[node.input[2]].astype(np.float64) / sums)
            self.constant(bias, np.clip(rounded, -(2**31), 2**31 - 1).astype(np.int32))
            inputs.append(f"{bias}/float")
            self.emit("DequantizeLinear", [bias, f"{bias}/scale"], [inputs[2]], axis=0)
        output = self.plan.clipped.get(node.output[0], node.output[0])
        self.emit("Conv", inputs, [output], node.name, node.attribute)

    def weights(self, node: NodeProto) -> tuple[str, str]:
        """Names of a convolution's weights as int8, and of their scales."""
        name = f"{node.input[1]}/int8"
        scales = self.channel_scales(node)
        values = self.plan.constants[node.input[1]].astype(np.float64)
        steps = values / scales.reshape(-1, *[1] * (values.ndim - 1))
        self.constant(name, np.clip(np.rint(steps), -_REACH, _REACH).astype(np.int8))
        return name, self.constant(f"{name}/scale", scales.astype(np.float32))

    def channel_scales(self, node: NodeProto) -> NDArray[np.float64]:
        values = np.abs(self.plan.constants[node.input[1]]).astype(np.float64)
        greatest = values.reshape(len(values), -1).max(axis=1)
        scales = np.maximum(greatest, 1e-12) / _REACH
        return np.asarray(scales.astype(np.float32), np.float64)

    def sums(self, node: NodeProto) -> NDArray[np.float64]:
        """What one step of a 32-bit sum means, by channel."""
        scale, _ = self.parameters[node.input[0]]
        return self.channel_scales(node) * float(scale)

    def round(self, name: str) -> None:
        """Write the pair that rounds a tensor to 8 bits, if it is one that is quantized."""
        if name not in self.parameters:
            return
        scale, zero = self.parameters[name]
        pair = [self.constant(f"{name}/scale", scale), self.constant(f"{name}/zero", zero)]
        self.emit("QuantizeLinear", [name, *pair], [f"{name}/uint8"])
        self.emit("DequantizeLinear", [f"{name}/uint8", *pair], [f"{name}/float"])

    def rounded(self, name: str) -> str:
        return f"{name}/float" if name in self.parameters else name

    def constant(self, name: str, value: NDArray[Any] | np.generic) -> str:
        self.constants.append(numpy_helper.from_array(np.asarray(value, order="C"), name))
        return name

    def emit(
        self,
        operation: str,
        inputs: list[str],
        outputs: list[str],
        name: str = "",
        attributes: Iterable[Any] = (),
        axis: int | None = None,
    ) -> None:
        node = helper.make_node(operation, inputs, outputs, name=name or outputs[0])
        if axis is not None:
            node.attribute.append(helper.make_attribute("axis", axis))
        node.attribute.extend(attributes)
        self.nodes.append(node)
