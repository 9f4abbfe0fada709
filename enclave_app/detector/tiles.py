"""Tiled inference for small objects: merges detections of overlapping tiles and the whole image.

A tile's border cuts some objects into pieces. The tiles overlap, so most small objects lie whole in
one of them; large objects are found in the whole image. The merge:

1. Boxes that no inner border cuts, from the tiles and the whole image, go through non-maximum
   suppression as usual.
2. A piece that lies mostly in such a box of its class is part of that object, and is dropped.
3. Pieces of one class that overlap in different tiles are joined to one object.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from enclave_app.detector.candidates import Candidates
from enclave_app.detector.nms import areas, shared_areas, suppress

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from blindgate.imaging.decode import Box

#: Overlap of neighbouring tiles as a fraction of the image's side: an object no longer than this
#: lies whole in some tile.
SHARED: Final = 0.18
#: A box that ends this near an inner border, as a fraction of the tile's side, may have been cut.
_NEAR: Final = 0.01
#: A piece with this much of its area in a whole box is part of it.
_PART_OF: Final = 0.6
#: Pieces that share this much of what the smaller of them has are one object.
_SAME: Final = 0.3
#: With fewer pixels per tile on the shorter side, an image is not tiled.
_LEAST_SIDE: Final = 16


def regions(width: int, height: int, tiles: int) -> list[Box]:
    """The whole image, then its tiles row by row: left, top, right, bottom in pixels."""
    whole: list[Box] = [(0.0, 0.0, float(width), float(height))]
    if tiles == 1 or min(width, height) < _LEAST_SIDE * tiles:
        return whole
    across, down = _spans(width, tiles), _spans(height, tiles)
    return whole + [(left, top, right, bottom) for top, bottom in down for left, right in across]


def _spans(length: int, tiles: int) -> list[tuple[float, float]]:
    size = length * (1 + (tiles - 1) * SHARED) / tiles
    step = (length - size) / (tiles - 1)
    starts = [step * index for index in range(tiles - 1)] + [length - size]
    # the last one ends exactly at the image's border: `cut_by_border` compares
    return [(start, start + size) for start in starts[:-1]] + [(starts[-1], float(length))]


def cut_by_border(boxes: NDArray[np.float32], region: Box, whole: Box) -> NDArray[np.bool_]:
    """Which boxes end at a border of the region that is not the image's."""
    near_x, near_y = (region[2] - region[0]) * _NEAR, (region[3] - region[1]) * _NEAR
    cut = np.zeros(len(boxes), np.bool_)
    for side, near in enumerate((near_x, near_y, near_x, near_y)):
        if region[side] != whole[side]:
            cut |= np.abs(boxes[:, side] - region[side]) < near
    return cut


def merge(found: Sequence[tuple[Box, Candidates]], iou: float) -> Candidates:
    """One set of objects from those of each region.

    Args:
        found: For each region, the whole image first, its candidates in pixels of the image.
        iou: Above which two boxes of one class are one object.
    """
    whole_region = found[0][0]
    whole, pieces = [], []
    for region, candidates in found:
        cut = cut_by_border(candidates.boxes, region, whole_region)
        whole.append(candidates.take(~cut))
        pieces.append(candidates.take(cut))
    kept = suppress(Candidates.joined(whole), iou)
    origin = np.repeat(np.arange(len(pieces)), [len(part) for part in pieces])
    rest = Candidates.joined(pieces)
    alone = ~_belongs(rest, kept, _PART_OF)
    joined = _join(rest.take(alone), origin[alone])
    # an object of joined pieces may be one that a whole box shows only in part
    fresh = joined.take(~_belongs(joined, kept, _PART_OF))
    return suppress(Candidates.joined([kept, fresh]), iou)


def _belongs(pieces: Candidates, objects: Candidates, part: float) -> NDArray[np.bool_]:
    """Which pieces have at least that fraction of their area in an object of their class."""
    if not len(pieces) or not len(objects):
        return np.zeros(len(pieces), np.bool_)
    inside = shared_areas(pieces.boxes, objects.boxes)
    inside /= np.maximum(areas(pieces.boxes)[:, None], np.float32(1e-9))
    same_class = pieces.classes[:, None] == objects.classes[None]
    return np.asarray(((inside >= part) & same_class).any(axis=1))


def _join(pieces: Candidates, origin: NDArray[np.intp]) -> Candidates:
    """Union boxes of pieces that meet; a lone piece stays as it is."""
    count = len(pieces)
    if not count:
        return pieces
    smaller = np.minimum(*np.meshgrid(areas(pieces.boxes), areas(pieces.boxes)))
    meet = shared_areas(pieces.boxes, pieces.boxes) >= _SAME * np.maximum(smaller, 1e-9)
    meet &= pieces.classes[:, None] == pieces.classes[None]
    meet &= origin[:, None] != origin[None]
    group = np.arange(count)
    for left, right in zip(*np.nonzero(np.triu(meet, 1)), strict=True):
        group[group == group[right]] = group[left]
    boxes, scores, classes = [], [], []
    for number in np.unique(group):
        members = pieces.take(group == number)
        boxes.append([*members.boxes[:, :2].min(axis=0), *members.boxes[:, 2:].max(axis=0)])
        scores.append(members.scores.max())
        classes.append(members.classes[0])
    return Candidates(
        np.array(boxes, np.float32), np.array(scores, np.float32), np.array(classes, np.int64)
    )
