from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.errors import BuildError
from models.qdq import Plan, quantize, scale_and_zero, upgraded
from tests.models.networks import residual

MODEL = onnx.load_from_string(residual())
PICTURE = np.random.default_rng(1).uniform(-1, 1, (1, 3, 32, 32)).astype(np.float32)


def run(network: bytes, outputs: list[str] | None = None) -> list[Any]:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(network, options)
    result: list[Any] = session.run(outputs, {"images": PICTURE})
    return result


def ranges() -> dict[str, tuple[float, float]]:
    shown = onnx.load_from_string(residual())
    names = [name for name in Plan(MODEL).tensors if name != "images"]
    shown.graph.output.extend(
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in names
    )
    values = run(shown.SerializeToString(), names)
    found = {name: (float(v.min()), float(v.max())) for name, v in zip(names, values, strict=True)}
    return {"images": (-1.0, 1.0), **found}


def test_what_is_quantized() -> None:
    plan = Plan(MODEL)
    assert plan.clipped == {"first": "clipped", "deep": "positive"}
    assert plan.additions == {"sum"}
    assert plan.tensors == ["images", "clipped", "positive", "narrow", "sum", "last"]


def test_the_network_s_end_and_its_depthwise_layers_can_be_left() -> None:
    assert Plan(MODEL, ["heads"]).convolutions.keys() == {"first", "deep", "narrow"}
    assert Plan(MODEL, ["depthwise"]).convolutions.keys() == {"first", "narrow", "last"}
    whole, expected = quantize(MODEL, ranges()), run(residual())[0]
    without = quantize(MODEL, ranges(), ["heads", "depthwise"])
    assert np.abs(run(without)[0] - expected).mean() < np.abs(run(whole)[0] - expected).mean()


def test_constants_among_the_inputs_are_no_inputs() -> None:
    old = onnx.load_from_string(residual())
    old.graph.input.append(onnx.helper.make_tensor_value_info("first/w", 1, [8, 3, 3, 3]))
    made = onnx.load_from_string(quantize(old, ranges()))
    assert [source.name for source in made.graph.input] == ["images"]


def test_the_integer_network_says_nearly_the_same() -> None:
    integer, expected = run(quantize(MODEL, ranges()))[0], run(residual())[0]
    assert np.abs(integer - expected).max() < 0.06
    assert np.abs(integer - expected).mean() < 0.008


def test_the_runtime_gets_integer_kernels() -> None:
    operations = [
        node.op_type for node in onnx.load_from_string(quantize(MODEL, ranges())).graph.node
    ]
    assert "Clip" not in operations
    assert "Relu" not in operations
    assert operations.count("QuantizeLinear") == 6


def test_the_bytes_depend_on_nothing_else() -> None:
    assert quantize(MODEL, ranges()) == quantize(onnx.load_from_string(residual()), ranges())


def test_weights_keep_a_scale_for_each_channel() -> None:
    made = onnx.load_from_string(quantize(MODEL, ranges()))
    constants = {item.name: onnx.numpy_helper.to_array(item) for item in made.graph.initializer}
    assert constants["first/w/int8"].dtype == np.int8
    assert constants["first/w/int8/scale"].shape == (8,)
    assert (
        np.abs(constants["first/w/int8"].reshape(8, -1).astype(int)).max(axis=1).tolist()
        == [127] * 8
    )
    assert constants["first/b/int32"].dtype == np.int32
    assert "first/w" not in constants


def test_a_missing_range_is_named() -> None:
    known = ranges()
    del known["sum"]
    with pytest.raises(BuildError, match="no value range for sum"):
        quantize(MODEL, known)


def test_an_old_opset_is_upgraded() -> None:
    old = onnx.load_from_string(residual(opset=11))
    new = upgraded(old)
    assert new.opset_import[0].version == 13
    assert upgraded(new) is new
    assert np.allclose(run(quantize(new, ranges())), run(quantize(MODEL, ranges())), atol=1e-6)


@given(st.floats(-1e4, 1e4), st.floats(0, 1e4))
def test_zero_is_exact_and_the_range_is_covered(low: float, width: float) -> None:
    scale, zero = scale_and_zero(low, low + width)
    reach = [(0 - int(zero)) * float(scale), (255 - int(zero)) * float(scale)]
    assert reach[0] <= min(low, 0) + float(scale)
    assert reach[1] >= max(low + width, 0) - float(scale)
    assert 0 <= int(zero) <= 255
