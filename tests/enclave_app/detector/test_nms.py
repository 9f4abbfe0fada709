from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from enclave_app.detector.candidates import Candidates
from enclave_app.detector.nms import MAX_CANDIDATES, overlaps, suppress
from tests.enclave_app.detector.reference import Found, greedy, iou

corner = st.integers(0, 40)
rows = st.lists(
    st.tuples(corner, corner, st.integers(1, 20), st.integers(1, 20), st.integers(0, 2)),
    min_size=1,
    max_size=25,
)


def candidates(values: list[tuple[int, int, int, int, int]]) -> Candidates:
    boxes = np.array([[x, y, x + w, y + h] for x, y, w, h, _ in values], np.float32)
    # all scores differ, so that there is one right answer
    scores = np.linspace(0.9, 0.1, len(values), dtype=np.float32)
    return Candidates(boxes, scores, np.array([row[4] for row in values], np.int64))


@given(rows, st.sampled_from([0.3, 0.5, 0.7]))
def test_suppression_is_the_textbook_s(
    values: list[tuple[int, int, int, int, int]], limit: float
) -> None:
    given_ = candidates(values)
    expected = greedy(
        [
            Found(int(number), float(score), (box[0], box[1], box[2], box[3]))
            for box, score, number in zip(
                given_.boxes.astype(float).tolist(), given_.scores, given_.classes, strict=True
            )
        ],
        limit,
    )
    kept = suppress(given_, limit)
    assert kept.scores.tolist() == [found.score for found in expected]


@given(rows)
def test_overlap_is_the_textbook_s(values: list[tuple[int, int, int, int, int]]) -> None:
    boxes = candidates(values).boxes
    expected = [[iou(tuple(a), tuple(b)) for b in boxes.tolist()] for a in boxes.tolist()]
    assert np.allclose(overlaps(boxes, boxes), expected, atol=1e-6)


@given(rows, st.randoms())
def test_the_order_of_the_candidates_does_not_matter(
    values: list[tuple[int, int, int, int, int]], random: object
) -> None:
    given_ = candidates(values)
    shuffled = np.arange(len(given_))
    getattr(random, "shuffle")(shuffled)  # noqa: B009
    left, right = suppress(given_, 0.5), suppress(given_.take(shuffled), 0.5)
    assert left.boxes.tolist() == right.boxes.tolist()


def test_the_cost_is_bounded() -> None:
    many = 3 * MAX_CANDIDATES
    boxes = np.tile(np.array([[0, 0, 1, 1]], np.float32), (many, 1))
    boxes += np.arange(many, dtype=np.float32)[:, None] * 2
    scores = np.linspace(1, 0, many, dtype=np.float32)
    kept = suppress(Candidates(boxes, scores, np.zeros(many, np.int64)), 0.5)
    assert len(kept) == MAX_CANDIDATES
    assert kept.scores[0] == 1


def test_nothing_stays_nothing() -> None:
    empty = Candidates(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int64))
    assert len(suppress(empty, 0.5)) == 0
