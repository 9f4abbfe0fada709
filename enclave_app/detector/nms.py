"""Overlap, and greedy non-maximum suppression."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from enclave_app.detector.candidates import Candidates

#: Only this many candidates, the best ones, take part: no response has so many objects, and the
#: cost grows with the square.
MAX_CANDIDATES: Final = 1000


def areas(boxes: NDArray[np.float32]) -> NDArray[np.float32]:
    """Areas of boxes `[n, 4]`; 0 for an inverted one."""
    sides = np.maximum(boxes[:, 2:] - boxes[:, :2], 0)
    return np.asarray(sides[:, 0] * sides[:, 1])


def shared_areas(left: NDArray[np.float32], right: NDArray[np.float32]) -> NDArray[np.float32]:
    """Area that each of n boxes shares with each of m, `[n, m]`."""
    low = np.maximum(left[:, None, :2], right[None, :, :2])
    high = np.minimum(left[:, None, 2:], right[None, :, 2:])
    sides = np.maximum(high - low, 0)
    return np.asarray(sides[..., 0] * sides[..., 1])


def overlaps(left: NDArray[np.float32], right: NDArray[np.float32]) -> NDArray[np.float32]:
    """Intersection over union of each of n boxes with each of m, `[n, m]`."""
    shared = shared_areas(left, right)
    union = areas(left)[:, None] + areas(right)[None] - shared
    return np.asarray(shared / np.maximum(union, np.float32(1e-9)))


def suppress(candidates: Candidates, iou: float) -> Candidates:
    """Keep the best of boxes that overlap more than `iou`, class by class, best first.

    The greedy algorithm of the detectors' reference implementations; `best_first` breaks ties.
    """
    ordered = candidates.best_first().take(np.arange(min(len(candidates), MAX_CANDIDATES)))
    kept = np.ones(len(ordered), np.bool_)
    for number in np.unique(ordered.classes):
        of_class = np.flatnonzero(ordered.classes == number)
        close = overlaps(ordered.boxes[of_class], ordered.boxes[of_class]) > iou
        alive = np.ones(len(of_class), np.bool_)
        for index in range(len(of_class)):
            if alive[index]:
                alive[index + 1 :] &= ~close[index, index + 1 :]
        kept[of_class] = alive
    return ordered.take(kept)
