"""The ONNX runtime, made quiet, small and predictable."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import onnxruntime

from enclave_app.detector.errors import ModelError

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from enclave_app.detector.manifest import Input

#: Errors come as exceptions; the runtime's own log would tell the console about pictures' sizes.
_FATAL_ONLY: Final = 4
_TYPES: Final = {"tensor(float)": "float32", "tensor(uint8)": "uint8"}

onnxruntime.set_default_logger_severity(_FATAL_ONLY)
onnxruntime.disable_telemetry_events()


class Network:
    """One ONNX session. Several threads may run it at once."""

    def __init__(self, onnx: bytes, wanted: Input, *, threads: int) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = _FATAL_ONLY
        # an idle thread that spins takes the processor from the next request's decoding
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        try:
            self._session: Any = onnxruntime.InferenceSession(
                onnx, options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # noqa: BLE001 - it raises types of its own for each failure
            raise ModelError(f"onnxruntime cannot load the ONNX file: {error}") from None
        self._feed_name, self._extra = _inputs(self._session, wanted)
        self._output_names = [output.name for output in self._session.get_outputs()]

    def run(self, tensor: NDArray[np.generic]) -> dict[str, NDArray[np.generic]]:
        """Run the network on one input, with its batch dimension; outputs by name."""
        feeds = {self._feed_name: tensor, **self._extra}
        outputs = self._session.run(self._output_names, feeds)
        return dict(zip(self._output_names, outputs, strict=True))


def read_onnx(path: Path, sha256: str | None) -> bytes:
    """Read an ONNX file, if it is the one that the manifest pins.

    Raises:
        ModelError: It is not there, not pinned, or another one.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ModelError(f"cannot read {path}: {error.strerror}") from None
    if sha256 is None:
        raise ModelError(f"the manifest beside {path} pins no onnx_sha256")
    if hashlib.sha256(data).hexdigest() != sha256:
        raise ModelError(f"{path} does not have the SHA-256 that its manifest pins")
    return data


def _inputs(session: Any, wanted: Input) -> tuple[str, dict[str, NDArray[np.int64]]]:
    """The image input's name, and what the other input is given; checked against the manifest."""
    inputs = {found.name: found for found in session.get_inputs()}
    extra = {}
    if wanted.size_input is not None:
        if inputs.pop(wanted.size_input, None) is None:
            raise ModelError(f"the graph has no input {wanted.size_input!r}, named as size_input")
        extra[wanted.size_input] = np.array([[wanted.width, wanted.height]], np.int64)
    name = wanted.name or next(iter(inputs), "")
    if list(inputs) != [name]:
        raise ModelError(
            f"the graph's inputs are {', '.join(inputs) or 'none'}; the manifest uses "
            f"{name or 'none'}, and no value is known for others"
        )
    sides = (wanted.height, wanted.width)
    shape = [1, 3, *sides] if wanted.layout == "nchw" else [1, *sides, 3]
    found = inputs[name]
    fixed = [isinstance(size, int) and size > 0 for size in found.shape]
    fits = len(found.shape) == len(shape) and all(
        size == actual or not known
        for size, actual, known in zip(shape, found.shape, fixed, strict=True)
    )
    if not fits:
        raise ModelError(f"the input {name} is {found.shape}, the manifest makes {shape}")
    if _TYPES.get(found.type) != wanted.dtype:
        raise ModelError(f"the input {name} is a {found.type}, the manifest makes {wanted.dtype}")
    return name, extra
