"""Networks that end in boxes, scores and classes: the suppression is in the graph.

TensorFlow's Object Detection API, torchvision's detectors and the official exports of RT-DETR
and D-FINE end this way.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from enclave_app.detector.candidates import Candidates
from enclave_app.detector.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from enclave_app.detector.manifest import Manifest

#: What exporters call the three outputs.
_USUAL: Final = {
    "boxes": ("boxes", "detection_boxes"),
    "scores": ("scores", "detection_scores"),
    "classes": ("classes", "labels", "detection_classes"),
}


def read(
    outputs: Mapping[str, NDArray[np.generic]], manifest: Manifest, min_score: float
) -> Candidates:
    """Boxes `[n, 4]` or `[1, n, 4]`, scores and classes `[n]` or `[1, n]`."""
    named = manifest.outputs
    boxes = _output(outputs, "boxes", named.boxes).astype(np.float32).reshape(-1, 4)
    scores = _output(outputs, "scores", named.scores).astype(np.float32).reshape(-1)
    classes = _output(outputs, "classes", named.classes).astype(np.int64).reshape(-1)
    if not len(boxes) == len(scores) == len(classes):
        raise ModelError(
            f"{len(boxes)} boxes, {len(scores)} scores and {len(classes)} classes do not fit"
        )
    if named.order == "yxyx":
        boxes = boxes[:, [1, 0, 3, 2]]
    if named.units == "relative":
        width, height = manifest.input.width, manifest.input.height
        boxes = boxes * np.array([width, height, width, height], np.float32)
    return Candidates(boxes, scores, classes).take(scores >= min_score)


def _output(
    outputs: Mapping[str, NDArray[np.generic]], what: str, name: str | None
) -> NDArray[np.generic]:
    for candidate in (name,) if name else _USUAL[what]:
        if candidate in outputs:
            return outputs[candidate]
    raise ModelError(
        f"no output {name or ' or '.join(_USUAL[what])}; the graph has {', '.join(outputs)}: "
        f"name it in the manifest, [outputs] {what} = …"
    )
