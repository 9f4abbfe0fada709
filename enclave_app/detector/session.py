"""ONNX Runtime sessions, without logging, with one memory arena."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import onnxruntime

from enclave_app.detector.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from enclave_app.detector.manifest import Input, Manifest

Outputs = dict[str, "NDArray[np.generic]"]

#: Errors are exceptions; the runtime's own log would disclose sizes of images on the console.
_FATAL_ONLY: Final = 4
#: Bytes of an ONNX file up to which there is a second session: it takes twice as much memory.
_TWICE: Final = 32 * 1024 * 1024
#: What our exporters call the output that says which image a row belongs to.
IMAGES: Final = "images"
#: `kSameAsRequested` of onnxruntime's `ArenaExtendStrategy`.
_AS_REQUESTED: Final = 1
_TYPES: Final = {"tensor(float)": "float32", "tensor(uint8)": "uint8"}

onnxruntime.set_default_logger_severity(_FATAL_ONLY)


def _share_memory() -> None:
    """Make all sessions allocate from one arena, which grows by what is requested.

    By default each session has an arena that doubles: 8 MB more for two sessions of the default
    model. No limit, and the defaults of `OrtArenaCfg` otherwise.
    """
    arena = onnxruntime.OrtAllocatorType.ORT_ARENA_ALLOCATOR
    memory = onnxruntime.OrtMemoryInfo("Cpu", arena, 0, onnxruntime.OrtMemType.DEFAULT)
    unlimited, default = 0, -1
    onnxruntime.create_and_register_allocator(
        memory, onnxruntime.OrtArenaCfg(unlimited, _AS_REQUESTED, default, default)
    )


_share_memory()


class Network:
    """An ONNX model. Several threads may run it at once.

    They share one session, whose runs use one thread each: this is fastest when requests are
    processed in parallel. A single request would leave the other cores idle, so a second session
    uses all of them.

    Args:
        onnx: The file's bytes.
        manifest: The model's interface.
        threads: Used by a run when no other request is in flight.

    Raises:
        ModelError: The file cannot be loaded, or does not fit the manifest.
    """

    def __init__(self, onnx: bytes, manifest: Manifest, *, threads: int) -> None:
        self._session = _session(onnx, 1)
        twice = threads > 1 and len(onnx) <= _TWICE
        self._alone = _session(onnx, threads) if twice else self._session
        #: How many inputs one run takes.
        self.batch = manifest.input.batch
        self._feed_name, self._extra = _inputs(self._session, manifest.input)
        self._output_names = [output.name for output in self._session.get_outputs()]
        self._images = _rows_of_images(self._output_names, manifest)

    def run(self, tensors: Sequence[NDArray[np.generic]], *, alone: bool = False) -> list[Outputs]:
        """Run the network once.

        Args:
            tensors: 1 to `batch` inputs, each with its batch dimension `[1, ...]`.
            alone: Whether no other request is in flight.

        Returns:
            For each input its outputs by name, the same as without the others.

        Raises:
            ModelError: The outputs are not one for each input.
        """
        count = len(tensors)
        tensor = tensors[0] if count == 1 else np.concatenate(tensors)
        feeds = {self._feed_name: tensor}
        feeds |= {name: np.repeat(value, count, axis=0) for name, value in self._extra.items()}
        outputs = (self._alone if alone else self._session).run(self._output_names, feeds)
        by_name = dict(zip(self._output_names, outputs, strict=True))
        return [by_name] if count == 1 else self._apart(by_name, count)

    def check_batch(self, samples: Sequence[NDArray[np.generic]]) -> None:
        """Check that an input's outputs do not depend on the other inputs of its batch.

        Otherwise the response to one client would disclose something about another client's
        image, as with dynamic quantization, where the scale depends on the whole batch.

        Args:
            samples: At least `batch` different inputs.

        Raises:
            ModelError: They do, or the network does not accept the batch.
        """
        if self.batch == 1:
            return
        samples = samples[: self.batch]
        try:
            together = self.run(samples)
        except ModelError:
            raise
        except Exception as error:  # noqa: BLE001 - the runtime has many exception types
            raise ModelError(f"the graph takes no batch of {self.batch}: {error}") from None
        for sample, beside in zip(samples, together, strict=True):
            (alone,) = self.run([sample])
            if any(not np.array_equal(alone[name], beside[name]) for name in beside):
                raise ModelError(
                    "the graph's outputs for an image depend on the others in its batch: "
                    "leave out input.batch in the manifest"
                )

    def _apart(self, outputs: Outputs, count: int) -> list[Outputs]:
        if self._images is not None:
            image = outputs.pop(self._images)
            return [
                {name: rows[image == at] for name, rows in outputs.items()} for at in range(count)
            ]
        if any(rows.shape[:1] != (count,) for rows in outputs.values()):
            raise ModelError(f"the graph does not give {count} rows of outputs for {count} images")
        return [{name: rows[at : at + 1] for name, rows in outputs.items()} for at in range(count)]


def _session(onnx: bytes, threads: int) -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = _FATAL_ONLY
    options.add_session_config_entry("session.use_env_allocators", "1")
    # a thread that spins while it is idle takes the core from the decoding of the next request
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    if threads > 1:
        # Small blocks: a thread that gets a core late has not reserved half of the work.
        options.add_session_config_entry("session.dynamic_block_base", "4")
    before = _threads()
    try:
        session: Any = onnxruntime.InferenceSession(
            onnx, options, providers=["CPUExecutionProvider"]
        )
    except Exception as error:  # noqa: BLE001 - the runtime has many exception types
        raise ModelError(f"onnxruntime cannot load the ONNX file: {error}") from None
    # It keeps the file, for a restart with other providers, which we never request.
    session._model_bytes = None  # noqa: SLF001 - 17 to 70 MB
    for thread in _threads() - before:
        # They use idle cores only, and yield to all other work.
        _run_when_idle(thread)
    return session


def _run_when_idle(thread: int) -> None:
    """Give a thread the scheduling class SCHED_IDLE, which only Linux has for single threads.

    On other systems it competes with other threads, which costs latency under load only.
    """
    if hasattr(os, "sched_setscheduler"):
        os.sched_setscheduler(thread, os.SCHED_IDLE, os.sched_param(0))


def _threads() -> set[int]:
    """The threads of this process; empty where there is no /proc."""
    try:
        return {int(entry.name) for entry in Path("/proc/self/task").iterdir()}
    except OSError:
        return set()


def _rows_of_images(outputs: Sequence[str], manifest: Manifest) -> str | None:
    """The output that says which image each row of the others belongs to, if there is one."""
    if manifest.family != "boxes":
        return None
    name = manifest.outputs.images
    if name is not None and name not in outputs:
        raise ModelError(f"no output {name}; the graph has {', '.join(outputs)}")
    return name or (IMAGES if IMAGES in outputs else None)


def read_onnx(path: Path, sha256: str | None) -> bytes:
    """Read an ONNX file and compare its digest with the manifest's.

    Raises:
        ModelError: It is missing or not pinned, or its digest differs.
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
    """The name of the image input, and the value of the other input, if there is one."""
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
    if wanted.batch > 1 and fixed[0]:
        raise ModelError(
            f"the input {name} is {found.shape}: leave out input.batch, it takes one image a run"
        )
    if _TYPES.get(found.type) != wanted.dtype:
        raise ModelError(f"the input {name} is a {found.type}, the manifest makes {wanted.dtype}")
    return name, extra
