"""YOLOX (Ge et al., 2021, arXiv:2107.08430; Megvii-BaseDetection/YOLOX, Apache-2.0).

An anchor-free head on strides 8, 16 and 32: each cell predicts the offset of a box's centre from
the cell's corner and the logarithm of its size, both in strides, whether there is an object, and
of which class. Its exports leave this last step outside the graph (`demo_postprocess`).
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Final

import numpy as np

from enclave_app.detector.candidates import Candidates
from enclave_app.detector.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from enclave_app.detector.manifest import Manifest

STRIDES: Final = (8, 16, 32)


@cache
def cells(width: int, height: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Column and row `[n, 2]`, and stride `[n, 1]`, of every cell, in the head's order."""
    corners, strides = [], []
    for stride in STRIDES:
        rows, columns = np.mgrid[: height // stride, : width // stride]
        corners.append(np.stack([columns.ravel(), rows.ravel()], axis=1))
        strides.append(np.full((rows.size, 1), stride))
    return np.concatenate(corners).astype(np.float32), np.concatenate(strides).astype(np.float32)


def read(
    outputs: Mapping[str, NDArray[np.generic]], manifest: Manifest, min_score: float
) -> Candidates:
    """One output `[1, n, 5 + classes]`: centre, size, objectness, class scores."""
    corners, strides = cells(manifest.input.width, manifest.input.height)
    (rows,) = outputs.values() if len(outputs) == 1 else (None,)
    expected = (1, len(corners), 5 + len(manifest.labels))
    if rows is None or rows.shape != expected:
        shapes = [list(output.shape) for output in outputs.values()]
        raise ModelError(f"a YOLOX head gives one output {list(expected)}, this graph {shapes}")
    head = rows[0].astype(np.float32)
    classes = head[:, 5:].argmax(axis=1)
    scores = head[:, 4] * head[np.arange(len(head)), 5 + classes]
    chosen = scores >= min_score
    head, corners, strides = head[chosen], corners[chosen], strides[chosen]
    centres = (head[:, :2] + corners) * strides
    halves = np.exp(head[:, 2:4]) * strides / 2
    boxes = np.concatenate([centres - halves, centres + halves], axis=1)
    return Candidates(boxes, scores[chosen], classes[chosen].astype(np.int64))
