"""Label sets that a manifest can name instead of listing them."""

from __future__ import annotations

from typing import Final

#: The 80 classes of COCO 2017 in the order of their category ids: what most COCO detectors
#: number 0 to 79.
COCO_80: Final = tuple(
    """person|bicycle|car|motorcycle|airplane|bus|train|truck|boat|traffic light|fire hydrant
    |stop sign|parking meter|bench|bird|cat|dog|horse|sheep|cow|elephant|bear|zebra|giraffe
    |backpack|umbrella|handbag|tie|suitcase|frisbee|skis|snowboard|sports ball|kite
    |baseball bat|baseball glove|skateboard|surfboard|tennis racket|bottle|wine glass|cup|fork
    |knife|spoon|bowl|banana|apple|sandwich|orange|broccoli|carrot|hot dog|pizza|donut|cake
    |chair|couch|potted plant|bed|dining table|toilet|tv|laptop|mouse|remote|keyboard
    |cell phone|microwave|oven|toaster|sink|refrigerator|book|clock|vase|scissors|teddy bear
    |hair drier|toothbrush""".replace("\n    ", "").split("|")
)

#: Category ids of 1 to 90 that COCO 2017 does not use, and 0, which no category has.
_COCO_UNUSED: Final = frozenset({0, 12, 26, 29, 30, 45, 66, 68, 69, 71, 83})


def _by_category_id() -> tuple[str, ...]:
    names = iter(COCO_80)
    return tuple("" if number in _COCO_UNUSED else next(names) for number in range(91))


#: The same classes at their category ids, 1 to 90, as TensorFlow's models number them; an empty
#: label stands at a number that no class has.
COCO_91: Final = _by_category_id()

LABEL_SETS: Final = {"coco-80": COCO_80, "coco-91": COCO_91}
