"""NanoDet (RangiLyu/nanodet, Apache-2.0), with the head of Generalized Focal Loss (Li et al.,
2020, arXiv:2006.04388).

Each cell predicts, for each side of a box, a distribution over the distances 0 to reg_max from
the cell's centre, in strides; the distance is its expectation.
"""  # noqa: D205

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from enclave_app.detector.candidates import Candidates
from enclave_app.detector.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from enclave_app.detector.manifest import Manifest


class _Level(NamedTuple):
    scores: NDArray[np.float32]  # [cells, classes]
    distances: NDArray[np.float32]  # [cells, 4 * bins]


def read(
    outputs: Mapping[str, NDArray[np.generic]], manifest: Manifest, min_score: float
) -> Candidates:
    """A pair of outputs a stride: class scores `[1, n, classes]`, distances `[1, n, 4 * bins]`."""
    parts = []
    for level in _levels(outputs, len(manifest.labels)):
        stride, columns = _grid(len(level.scores), manifest.input.width, manifest.input.height)
        cell, number = np.nonzero(level.scores >= min_score)
        centres = np.stack([cell % columns, cell // columns], axis=1) + np.float32(0.5)
        reach = expected_distances(level.distances[cell])
        boxes = np.concatenate([centres - reach[:, :2], centres + reach[:, 2:]], axis=1) * stride
        parts.append(
            Candidates(
                boxes.astype(np.float32), level.scores[cell, number], number.astype(np.int64)
            )
        )
    return Candidates.joined(parts)


def expected_distances(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    """Left, top, right, bottom `[n, 4]` in strides, from logits `[n, 4 * bins]`."""
    bins = logits.shape[1] // 4
    rows = logits.reshape(-1, 4, bins)
    weights = np.exp(rows - rows.max(axis=2, keepdims=True, initial=-np.inf))
    weights /= weights.sum(axis=2, keepdims=True)
    return np.asarray(weights @ np.arange(bins, dtype=np.float32))


def _levels(outputs: Mapping[str, NDArray[np.generic]], classes: int) -> list[_Level]:
    """Pair the outputs by their number of cells; the finest level first."""
    rows = [output[0].astype(np.float32) for output in outputs.values() if output.ndim == 3]
    by_cells: dict[int, list[NDArray[np.float32]]] = {}
    for output in rows:
        by_cells.setdefault(len(output), []).append(output)
    levels = []
    for pair in (by_cells[cells] for cells in sorted(by_cells, reverse=True)):
        if len(pair) == 2 and pair[0].shape[1] != classes:
            pair.reverse()
        if len(pair) != 2 or pair[0].shape[1] != classes or pair[1].shape[1] % 4:
            break
        levels.append(_Level(pair[0], pair[1]))
    if not levels or len(levels) != len(by_cells) or len(rows) != len(outputs):
        shapes = [list(output.shape) for output in outputs.values()]
        raise ModelError(
            f"a NanoDet head gives scores [1, n, {classes}] and distances [1, n, 4 * bins] for "
            f"each stride, this graph {shapes}"
        )
    return levels


def _grid(cells: int, width: int, height: int) -> tuple[int, int]:
    """Stride and number of columns of the level that has so many cells."""
    for stride in (4, 8, 16, 32, 64, 128):
        columns, rows = -(-width // stride), -(-height // stride)
        if columns * rows == cells:
            return stride, columns
    raise ModelError(f"no stride gives {cells} cells on an input of {width} x {height}")
