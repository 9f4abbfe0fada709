"""Several pictures in one run of the network: everybody gets exactly what he would get alone."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from PIL import Image

from blindgate.detections import Detections, DetectOptions
from blindgate.imaging.errors import ImageRejected
from enclave_app.detector import Detector, ModelError, UnknownClass
from enclave_app.detector.detector import DetectionRequest
from enclave_app.detector.manifest import MANIFEST_FILE, ONNX_FILE, ManifestFile, read_manifest
from models.fetch import pull
from tests.blindgate.imaging.files import encoded
from tests.enclave_app.detector.graphs import brightness_detr, constant_detr, sized_boxes
from tests.enclave_app.detector.manifests import manifest

if TYPE_CHECKING:
    from enclave_app.detector.manifest import Manifest

PAIRS = {"width": 64, "height": 64, "batch": 2}
WHITE = encoded(Image.new("RGB", (64, 64), "white"), "PNG")
BLACK = encoded(Image.new("RGB", (64, 64), "black"), "PNG")


class TooLateError(Exception):
    pass


def loaded(network: bytes, model: Manifest | None = None, threads: int = 1) -> Detector:
    read = ManifestFile(model or manifest("detr", input=PAIRS), b"digest")
    return Detector.from_onnx(read, network, threads=threads)


@pytest.fixture(scope="module")
def one_by_one() -> Detector:
    """The default model, told to take one picture a run."""
    folder = pull("ssd-mobilenet-v2-coco-int8")
    read = read_manifest(folder / MANIFEST_FILE)
    wanted = read.manifest.input.model_copy(update={"batch": 1})
    alone = read.manifest.model_copy(update={"input": wanted})
    return Detector.from_onnx(
        dataclasses.replace(read, manifest=alone), (folder / ONNX_FILE).read_bytes()
    )


def test_the_default_model_takes_three(int8_detector: Detector) -> None:
    assert int8_detector.batch == 3


@pytest.mark.parametrize("tiles", [None, 2])
def test_answers_in_a_batch_are_those_without(
    int8_detector: Detector, one_by_one: Detector, photos: list[bytes], tiles: int | None
) -> None:
    options = DetectOptions(tiles=tiles, min_score=0.05)
    requests = [DetectionRequest(photo, options) for photo in photos[:5]]
    found = int8_detector.detect_batch(requests)
    assert found == [one_by_one.detect(photo, options) for photo in photos[:5]]


def test_each_picture_is_looked_at_as_it_was_asked(
    int8_detector: Detector, photos: list[bytes]
) -> None:
    asked = [DetectOptions(max_detections=1), DetectOptions(min_score=0.9), DetectOptions(tiles=2)]
    requests = [DetectionRequest(photos[0], options) for options in asked]
    found = int8_detector.detect_batch(requests)
    assert found == [int8_detector.detect(photos[0], options) for options in asked]


def test_each_picture_is_decoded_before_the_next_one_is_drawn(int8_detector: Detector) -> None:
    steps: list[str] = []

    def requests() -> Iterator[DetectionRequest]:
        for name in ("first", "second"):
            steps.append(f"{name} drawn")
            yield DetectionRequest(WHITE, checkpoint=partial(steps.append, name))

    def alone() -> bool:
        steps.append("alone?")
        return False

    int8_detector.detect_batch(requests(), alone=alone)
    begun = ["first drawn", "first", "second drawn", "second"]
    # decoding calls it several times
    assert [step for step, _ in groupby(steps)] == [*begun, "first", "second", "alone?"]


def test_rows_of_one_picture_never_show_up_with_another(int8_detector: Detector) -> None:
    black, white = int8_detector.detect_batch([DetectionRequest(BLACK), DetectionRequest(WHITE)])
    assert (black, white) == (int8_detector.detect(BLACK), int8_detector.detect(WHITE))


def test_what_is_wrong_with_one_picture_is_its_own(detector: Detector) -> None:
    def too_late() -> None:
        raise TooLateError

    requests = [
        DetectionRequest(b"no picture"),
        DetectionRequest(WHITE),
        DetectionRequest(WHITE, DetectOptions(classes=("unicorn",))),
        DetectionRequest(WHITE, checkpoint=too_late),
        DetectionRequest(BLACK),
    ]
    found = detector.detect_batch(requests)
    kinds = [ImageRejected, Detections, UnknownClass, TooLateError, Detections]
    assert [type(one) for one in found] == kinds


def test_who_leaves_between_two_runs_is_not_looked_at_further(detector: Detector) -> None:
    calls = 0

    def leaves_soon() -> None:
        nonlocal calls
        calls += 1
        if calls > 2:
            raise TooLateError

    tiled = DetectOptions(tiles=2)
    left, stays = detector.detect_batch(
        [DetectionRequest(WHITE, tiled, leaves_soon), DetectionRequest(WHITE, tiled)]
    )
    assert isinstance(left, TooLateError)
    assert stays == detector.detect(WHITE, tiled)


@pytest.fixture(scope="module")
def detector() -> Detector:
    return loaded(brightness_detr())


def test_any_family_s_outputs_are_taken_apart(detector: Detector) -> None:
    found = detector.detect_batch(
        [DetectionRequest(WHITE), DetectionRequest(BLACK), DetectionRequest(WHITE)]
    )
    counts = [len(one.detections) for one in found if isinstance(one, Detections)]
    assert counts == [1, 0, 1]


def test_a_network_whose_outputs_depend_on_the_batch_is_refused() -> None:
    with pytest.raises(ModelError, match="depend on the others in its batch"):
        loaded(brightness_detr(of_all=True))
    assert loaded(brightness_detr(of_all=True), manifest("detr")).batch == 1


def test_a_batch_for_a_network_that_takes_one_picture_is_refused() -> None:
    logits, boxes = [[[9, -9, -9]]], [[[0.5, 0.5, 0.5, 0.5]]]
    with pytest.raises(ModelError, match=r"leave out input\.batch"):
        loaded(constant_detr(logits, boxes))


def test_an_output_that_names_the_picture_must_be_there() -> None:
    model = manifest(
        "boxes",
        input={
            "width": 64, "height": 64, "dtype": "float32", "layout": "nchw", "scale": 1 / 255,
            "size_input": "orig_target_sizes",
        },
        outputs={"images": "whose"},
    )  # fmt: skip
    with pytest.raises(ModelError, match="no output whose; the graph has"):
        loaded(sized_boxes(), model)


def test_a_picture_that_is_alone_gets_the_same_answer_from_several_threads(
    int8_detector: Detector, photos: list[bytes]
) -> None:
    folder = pull("ssd-mobilenet-v2-coco-int8")
    before = threads()
    several = Detector.load(folder, threads=2)
    for photo in photos:
        together = several.detect_batch([DetectionRequest(photo)], alone=lambda: True)
        assert together == [int8_detector.detect(photo)]
    if before:
        helpers = threads() - before
        assert helpers
        # Whatever else comes has the core at once.
        assert {os.sched_getscheduler(thread) for thread in helpers} == {os.SCHED_IDLE}


def threads() -> set[int]:
    """This process's threads, where the system tells."""
    folder = Path("/proc/self/task")
    return {int(entry.name) for entry in folder.iterdir()} if folder.is_dir() else set()
