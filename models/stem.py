"""Have the first layers of a network look at one image after the other, and the rest at a batch.

A batch saves time because weights come through the caches once for all its images. In the first
layers it is the other way round: few weights, large activations, and those of several images fit
into no cache. So these layers, the stem, go into the body of a Scan (ONNX operator
specification), which runs once for each image; the other layers take the whole batch. No number
in the network changes.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from onnx import NodeProto, TensorProto, checker, helper, numpy_helper, shape_inference

from models.errors import BuildError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from onnx import GraphProto, ModelProto

#: Bytes of an activation of the whole batch that still comes from a near cache: a core's own is
#: 1 MiB on most servers.
NEAR: Final = 5 * 2**18
#: Before the names that are the stem's own.
_OWN: Final = "stem/"
_NCHW_TO_NHWC, _NHWC_TO_NCHW = [0, 2, 3, 1], [0, 3, 1, 2]


def end_of_stem(model: ModelProto, batch: int) -> str | None:
    """Where the stem of a network in integers should end.

    Args:
        model: As `models.qdq.quantize` writes it.
        batch: Images in one run.

    Returns:
        The first tensor through which all leads, from which on no activation of the batch is
        larger than `NEAR` (or than it must be, if there is none), and which is no larger than
        the next of its kind; None if a stem is of no use.
    """
    tensors = _tensors(model)
    rounded = [node.output[0] for node in model.graph.node if node.op_type == "QuantizeLinear"]
    sizes = {name: int(np.prod(tensors[name].sizes[1:])) for name in rounded if name in tensors}
    if batch == 1 or all(batch * size <= NEAR for size in sizes.values()):
        return None
    #: The largest activation from each tensor on through which all leads.
    largest: dict[str, int] = {}
    for name in sizes:
        parts = _parted(model.graph, name)
        if parts is not None and tensors[name].is_image:
            behind = {name} | {output for node in parts.rest for output in node.output}
            largest[name] = max(size for other, size in sizes.items() if other in behind)
    near = max(NEAR // batch, min(largest.values(), default=0))
    ends = [name for name, most in largest.items() if most <= near]
    for end, after in pairwise(ends):
        if sizes[end] <= sizes[after]:
            return end
    return ends[-1] if ends else None


def with_stem(model: ModelProto, end: str) -> bytes:
    """Put the layers up to a tensor into a Scan over the images.

    Args:
        model: A network with one input, of any number of images.
        end: A tensor `[b, channels, height, width]` that leads from the stem to the rest alone.

    Returns:
        The serialised network, the same bytes for the same arguments. It gives the same outputs.

    Raises:
        BuildError: The network cannot be parted there.
    """
    parts, tensors = _parted(model.graph, end), _tensors(model)
    if parts is None or end not in tensors or not tensors[end].is_image:
        raise BuildError(
            f"the network cannot be parted at {end}: "
            "`blindgate models quantize --batch N` finds a tensor where it can"
        )
    (image,) = model.graph.input
    one_image = helper.make_tensor_value_info(
        "scan/image", tensors[image.name].kind, tensors[image.name].sizes[1:]
    )
    channels, height, width = tensors[end].sizes[1:]
    # Channels last, as the runtime computes convolutions of integers: it then leaves out all
    # that would be transposed here and back again.
    one_end = helper.make_tensor_value_info(
        "scan/end", tensors[end].kind, [height, width, channels]
    )
    body = helper.make_graph(
        [
            helper.make_node("Unsqueeze", [one_image.name, "scan/first"], [f"{_OWN}{image.name}"]),
            *(_renamed(node) for node in parts.stem),
            helper.make_node("Transpose", [f"{_OWN}{end}"], ["scan/last"], perm=_NCHW_TO_NHWC),
            helper.make_node("Squeeze", ["scan/last", "scan/first"], [one_end.name]),
        ],
        "stem",
        [one_image],
        [one_end],
        [
            numpy_helper.from_array(np.array([0], np.int64), "scan/first"),
            *(_renamed_constant(each) for each in _used(model.graph, parts.stem)),
        ],
    )
    scan = helper.make_node(
        "Scan", [image.name], ["scan/ends"], name="stem", num_scan_inputs=1, body=body
    )
    back = helper.make_node(
        "Transpose", ["scan/ends"], [end], name=f"{end}/nchw", perm=_NHWC_TO_NCHW
    )
    graph = helper.make_graph(
        [scan, back, *parts.rest],
        model.graph.name,
        list(model.graph.input),
        list(model.graph.output),
        list(_used(model.graph, parts.rest)),
    )
    made = helper.make_model(
        graph,
        opset_imports=list(model.opset_import),
        ir_version=model.ir_version,
        producer_name=model.producer_name,
        producer_version=model.producer_version,
    )
    checker.check_model(made)
    return bytes(made.SerializeToString(deterministic=True))


@dataclass(frozen=True)
class _Tensor:
    """A tensor: the ONNX type of its numbers, and its sizes, with a name for one that is free."""

    kind: int
    sizes: list[Any]

    @property
    def is_image(self) -> bool:
        """Whether it is `[b, channels, height, width]`."""
        return len(self.sizes) == len(_NCHW_TO_NHWC)


@dataclass(frozen=True)
class _Parts:
    """A network's nodes in two parts, each in the network's order."""

    stem: list[NodeProto]
    rest: list[NodeProto]


def _parted(graph: GraphProto, end: str) -> _Parts | None:
    """The nodes that a tensor depends on, and the others; None if these need more than it."""
    needed, stem = {end}, []
    for node in reversed(graph.node):
        if not needed.isdisjoint(node.output):
            needed.update(node.input)
            stem.append(node)
    stem.reverse()
    inside = {name for node in stem for name in node.output} | {each.name for each in graph.input}
    inside.discard(end)
    parts = _Parts(stem, [node for node in graph.node if needed.isdisjoint(node.output)])
    outside = {name for node in parts.rest for name in node.input}
    outside.update(output.name for output in graph.output)
    return parts if stem and inside.isdisjoint(outside) else None


def _tensors(model: ModelProto) -> dict[str, _Tensor]:
    """Of the tensors between the layers, as far as it is known."""
    graph = shape_inference.infer_shapes(model).graph
    found = {}
    for value in (*graph.input, *graph.value_info):
        of = value.type.tensor_type
        sizes = [size.dim_param or size.dim_value for size in of.shape.dim]
        found[value.name] = _Tensor(of.elem_type, sizes)
    return found


def _used(graph: GraphProto, nodes: list[NodeProto]) -> Iterator[TensorProto]:
    names = {name for node in nodes for name in node.input}
    return (tensor for tensor in graph.initializer if tensor.name in names)


def _renamed(node: NodeProto) -> NodeProto:
    """A node of the stem; no name in a body may be one of the graph around it."""
    copy = NodeProto()
    copy.CopyFrom(node)
    copy.input[:] = [name and f"{_OWN}{name}" for name in node.input]
    copy.output[:] = [name and f"{_OWN}{name}" for name in node.output]
    return copy


def _renamed_constant(tensor: TensorProto) -> TensorProto:
    copy = TensorProto()
    copy.CopyFrom(tensor)
    copy.name = f"{_OWN}{tensor.name}"
    return copy
