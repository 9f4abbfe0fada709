"""RT-DETR (Zhao et al., 2023, arXiv:2304.08069) and D-FINE (Peng et al., 2024,
arXiv:2410.13842): a set of queries, each a box and its class scores, and nothing to suppress.

The networks' own post-processor takes the best of all query and class pairs, so one query may
answer with several classes.
"""  # noqa: D205

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from blindgate.detections import MAX_DETECTIONS
from enclave_app.detector.candidates import Candidates
from enclave_app.detector.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from enclave_app.detector.manifest import Manifest


def read(
    outputs: Mapping[str, NDArray[np.generic]], manifest: Manifest, min_score: float
) -> Candidates:
    """Logits `[1, queries, classes]`; boxes `[1, queries, 4]`: centre x, y, width, height, 0..1."""
    logits, boxes = _pair(outputs, manifest)
    scores = np.asarray(1 / (1 + np.exp(-logits.astype(np.float32))), np.float32)
    query, number = np.nonzero(scores >= min_score)
    best = np.argsort(-scores[query, number], kind="stable")[:MAX_DETECTIONS]
    query, number = query[best], number[best]
    sides = np.array([manifest.input.width, manifest.input.height], np.float32)
    centres = boxes[query, :2].astype(np.float32) * sides
    halves = boxes[query, 2:].astype(np.float32) * sides / 2
    corners = np.concatenate([centres - halves, centres + halves], axis=1)
    return Candidates(corners.astype(np.float32), scores[query, number], number.astype(np.int64))


def _pair(
    outputs: Mapping[str, NDArray[np.generic]], manifest: Manifest
) -> tuple[NDArray[np.generic], NDArray[np.generic]]:
    classes, named = len(manifest.labels), manifest.outputs
    logits = [
        output for name, output in outputs.items()
        if named.logits in (None, name) and output.ndim == 3 and output.shape[2] == classes
    ]  # fmt: skip
    boxes = [
        output for name, output in outputs.items()
        if named.boxes in (None, name) and output.ndim == 3 and output.shape[2] == 4
    ]  # fmt: skip
    if len(logits) != 1 or len(boxes) != 1 or logits[0].shape[1] != boxes[0].shape[1]:
        shapes = {name: list(output.shape) for name, output in outputs.items()}
        raise ModelError(
            f"a DETR head gives logits [1, queries, {classes}] and boxes [1, queries, 4], this "
            f"graph {shapes}: name them in the manifest, [outputs] logits = … and boxes = …"
        )
    return logits[0][0], boxes[0][0]
