"""Candidates: boxes of the network's output, before and during suppression."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray


@dataclass(frozen=True)
class Candidates:
    """n boxes with their scores and class numbers."""

    #: float32 `[n, 4]`: x_min, y_min, x_max, y_max, in pixels of the input or of the image.
    boxes: NDArray[np.float32]
    #: float32 `[n]`, 0 to 1.
    scores: NDArray[np.float32]
    #: int64 `[n]`.
    classes: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.scores)

    def take(self, chosen: NDArray[np.bool_] | NDArray[np.intp]) -> Candidates:
        """The candidates that a mask or indices select."""
        return Candidates(self.boxes[chosen], self.scores[chosen], self.classes[chosen])

    def best_first(self) -> Candidates:
        """Sorted by score; the order depends only on the values."""
        keys = (*self.boxes.T[::-1], self.classes, -self.scores)
        return self.take(np.lexsort(keys))

    @classmethod
    def joined(cls, parts: Sequence[Candidates]) -> Self:
        """All of them in one."""
        return cls(
            np.concatenate([part.boxes for part in parts]),
            np.concatenate([part.scores for part in parts]),
            np.concatenate([part.classes for part in parts]),
        )
