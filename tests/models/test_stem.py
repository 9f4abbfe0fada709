from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray

from models import stem
from models.errors import BuildError
from models.qdq import Plan, quantize
from models.stem import end_of_stem, with_stem
from tests.models.networks import residual

FLOAT = onnx.load_from_string(residual(images="b"))
RANGES = dict.fromkeys(Plan(FLOAT).tensors, (-2.0, 6.0))
#: Its activations: images 3, clipped 8, positive 8, narrow 8, sum 8, last 4 channels of 32 x 32.
NETWORK = onnx.load_from_string(quantize(FLOAT, RANGES))
CHANNEL = 32 * 32
IMAGES = np.random.default_rng(3).uniform(-2, 2, (5, 3, 32, 32)).astype(np.float32)


def run(network: bytes, images: NDArray[np.float32]) -> Any:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    return onnxruntime.InferenceSession(network, options).run(None, {"images": images})[0]


def inner(network: bytes) -> list[str]:
    """What is done for each image by itself."""
    (scan,) = [n for n in onnx.load_from_string(network).graph.node if n.op_type == "Scan"]
    (body,) = [attribute.g for attribute in scan.attribute if attribute.name == "body"]
    return [node.op_type for node in body.node]


@pytest.mark.parametrize("end", ["images/uint8", "clipped/uint8", "sum/uint8", "last/uint8"])
@pytest.mark.parametrize("count", [1, 2, 5])
def test_a_network_with_a_stem_says_the_same(end: str, count: int) -> None:
    made = with_stem(NETWORK, end)
    assert np.array_equal(
        run(made, IMAGES[:count]), run(NETWORK.SerializeToString(), IMAGES[:count])
    )


def test_only_the_layers_before_its_end_are_the_stem_s() -> None:
    assert inner(with_stem(NETWORK, "images/uint8")).count("Conv") == 0
    assert inner(with_stem(NETWORK, "clipped/uint8")).count("Conv") == 1
    assert inner(with_stem(NETWORK, "last/uint8")).count("Conv") == 4


def test_the_bytes_depend_on_nothing_else() -> None:
    again = onnx.load_from_string(quantize(FLOAT, RANGES))
    assert with_stem(NETWORK, "sum/uint8") == with_stem(again, "sum/uint8")


def test_names_in_the_stem_are_its_own() -> None:
    made = onnx.load_from_string(with_stem(NETWORK, "sum/uint8"))
    (scan,) = [node for node in made.graph.node if node.op_type == "Scan"]
    (body,) = [attribute.g for attribute in scan.attribute if attribute.name == "body"]
    own = {name for node in body.node for name in (*node.input, *node.output)}
    around = {name for node in made.graph.node for name in (*node.input, *node.output)}
    assert own.isdisjoint(around)


@pytest.mark.parametrize("end", ["positive/uint8", "narrow/uint8"])
def test_where_something_leads_past_a_tensor_no_stem_can_end(end: str) -> None:
    with pytest.raises(BuildError, match=f"cannot be parted at {end}"):
        with_stem(NETWORK, end)


@pytest.mark.parametrize("end", ["no such tensor", "first/w/int8/float", "images"])
def test_what_no_layer_gives_is_refused(end: str) -> None:
    with pytest.raises(BuildError, match="cannot be parted"):
        with_stem(NETWORK, end)


@pytest.mark.parametrize(
    ("near", "end"),
    [
        # everything is near
        (3 * 8 * CHANNEL, None),
        # what is behind the last layer is near; before it, 8 channels are too many
        (3 * 8 * CHANNEL - 1, "last/uint8"),
        (3 * 4 * CHANNEL, "last/uint8"),
        # nothing is near: as little as can be
        (1, "last/uint8"),
    ],
)
def test_a_stem_ends_where_the_rest_is_near(
    monkeypatch: pytest.MonkeyPatch, near: int, end: str | None
) -> None:
    monkeypatch.setattr(stem, "NEAR", near)
    assert end_of_stem(NETWORK, 3) == end


def test_one_image_has_no_stem(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stem, "NEAR", 1)
    assert end_of_stem(NETWORK, 1) is None
