"""How the outputs of each family of detectors become boxes.

Each module is one pure function `read(outputs, manifest, min_score)`: from the network's outputs
by name to candidates in pixels of the input, none below the score. A manifest names its family.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

from enclave_app.detector.families import boxes, detr, nanodet, yolox

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    from numpy.typing import NDArray

    from enclave_app.detector.candidates import Candidates
    from enclave_app.detector.manifest import Manifest


class Reader(Protocol):
    """From outputs to candidates."""

    def __call__(
        self,
        outputs: Mapping[str, NDArray[np.generic]],
        manifest: Manifest,
        min_score: float,
    ) -> Candidates:
        """Read them.

        Raises:
            ModelError: The outputs are not those of the family.
        """
        ...


@dataclass(frozen=True)
class FamilyTraits:
    """What the detector has to know of a family."""

    read: Reader
    #: Whether several boxes stand for one object until the worse are suppressed.
    needs_suppression: bool


FAMILIES: Final = {
    "boxes": FamilyTraits(boxes.read, needs_suppression=False),
    "yolox": FamilyTraits(yolox.read, needs_suppression=True),
    "nanodet": FamilyTraits(nanodet.read, needs_suppression=True),
    "detr": FamilyTraits(detr.read, needs_suppression=False),
}
