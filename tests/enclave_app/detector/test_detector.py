from __future__ import annotations

import hashlib
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

from blindgate.detections import DetectOptions
from blindgate.imaging.errors import ImageRejected, ImageTooLarge
from blindgate.imaging.limits import ImageLimits
from enclave_app.detector import Detector, ModelError, UnknownClass
from enclave_app.detector import detector as detector_module
from enclave_app.detector.manifest import ManifestFile
from tests.blindgate.imaging.files import encoded, exif, quadrants
from tests.enclave_app.detector.graphs import constant_detr, sized_boxes
from tests.enclave_app.detector.manifests import manifest

if TYPE_CHECKING:
    from pathlib import Path

    from enclave_app.detector.manifest import Manifest

#: Logits of three queries for cat, dog, cow: certain, likely, unlikely.
LOGITS = [[[9, -9, -9], [-9, 1, -9], [-9, -9, -1]]]
BOXES = [[[0.25, 0.25, 0.5, 0.5], [0.5, 0.5, 0.2, 0.2], [0.75, 0.75, 0.1, 0.1]]]
PHOTO = encoded(quadrants(200, 100), "JPEG")
TOML = """
name = "test"
version = "1"
family = "detr"
labels = ["cat", "dog", "cow"]
licence = { spdx = "MIT" }
input = { width = 64, height = 64 }
thresholds = { score = 0.5 }
"""


def loaded(network: bytes, model: Manifest | None = None) -> Detector:
    return Detector.from_onnx(ManifestFile(model or manifest("detr"), b"digest"), network)


@pytest.fixture(scope="module")
def detector() -> Detector:
    return loaded(constant_detr(LOGITS, BOXES))


def test_a_detr_network_runs_by_manifest_alone(detector: Detector) -> None:
    answer = detector.detect(PHOTO)
    assert (answer.model.name, answer.image.width, answer.image.height) == ("test", 200, 100)
    assert [(one.label, one.class_id) for one in answer.detections] == [("cat", 0), ("dog", 1)]
    box = answer.detections[0].box
    assert (box.x_min, box.y_min, box.x_max, box.y_max) == (0, 0, 100, 50)


def test_min_score_replaces_the_model_s_threshold(detector: Detector) -> None:
    scores = [0.1, 0.3, 0.7, 0.8, 1.0]
    counts = [
        len(detector.detect(PHOTO, DetectOptions(min_score=score)).detections) for score in scores
    ]
    assert counts == [3, 2, 2, 1, 0]


def test_max_detections_keeps_the_best(detector: Detector) -> None:
    answer = detector.detect(PHOTO, DetectOptions(max_detections=1))
    assert [one.label for one in answer.detections] == ["cat"]


def test_classes_are_chosen_by_label(detector: Detector) -> None:
    answer = detector.detect(PHOTO, DetectOptions(classes=("dog", "cow"), min_score=0.1))
    assert [one.label for one in answer.detections] == ["dog", "cow"]


def test_an_unknown_class_is_named_before_anything_is_opened(detector: Detector) -> None:
    with pytest.raises(UnknownClass, match="knows no class unicorn"):
        detector.detect(b"", DetectOptions(classes=("cat", "unicorn")))


def test_boxes_are_those_of_the_upright_picture(detector: Detector) -> None:
    answer = detector.detect(encoded(quadrants(200, 100), "JPEG", exif=exif(6)))
    assert (answer.image.width, answer.image.height) == (100, 200)
    assert answer.detections[0].box.y_max == 100


def test_labels_that_no_class_has_never_show() -> None:
    model = manifest("detr", labels=["", "dog", "cow"])
    answer = loaded(constant_detr(LOGITS, BOXES), model).detect(PHOTO)
    assert [one.label for one in answer.detections] == ["dog"]


def test_numbers_that_are_none_never_show() -> None:
    broken = [[[np.nan, 0.5, 0.1, 0.1], [0.5, 0.5, np.inf, 0.1], [0.5, 0.5, -0.1, 0.1]]]
    answer = loaded(constant_detr(LOGITS, broken)).detect(PHOTO, DetectOptions(min_score=0))
    assert answer.detections == ()
    logits = [[[np.nan, 9, -9], [-9, -9, -9], [-9, -9, -9]]]
    answer = loaded(constant_detr(logits, BOXES)).detect(PHOTO)
    assert [one.label for one in answer.detections] == ["dog"]


def test_huge_numbers_are_taken_as_they_are() -> None:
    logits = [[[1e4, -1e4, -1e30], [-9, -9, -9], [-9, -9, -9]]]
    answer = loaded(constant_detr(logits, BOXES)).detect(PHOTO, DetectOptions(min_score=0.5))
    assert [one.score for one in answer.detections] == [1.0]


def test_ties_fall_the_same_way() -> None:
    logits = [[[9, -9, -9], [9, -9, -9], [-9, 9, -9]]]
    first = loaded(constant_detr(logits, BOXES)).detect(PHOTO)
    turned = loaded(constant_detr([logits[0][::-1]], [BOXES[0][::-1]])).detect(PHOTO)
    assert [one.box.x_min for one in first.detections if one.label == "cat"] == sorted(
        one.box.x_min for one in first.detections if one.label == "cat"
    )
    assert [one.label for one in first.detections] == [one.label for one in turned.detections]


def test_a_network_that_wants_the_picture_s_size_gets_it() -> None:
    model = manifest(
        "boxes",
        input={
            "width": 64, "height": 64, "dtype": "float32", "layout": "nchw", "scale": 1 / 255,
            "size_input": "orig_target_sizes",
        },
    )  # fmt: skip
    box = loaded(sized_boxes(), model).detect(PHOTO).detections[0].box
    assert (box.x_max, box.y_max) == (100, 25)


def test_the_same_bytes_give_the_same_answer(
    int8_detector: Detector, default_detector: Detector, photos: list[bytes]
) -> None:
    for detector in (int8_detector, default_detector):
        first = [detector.detect(photo) for photo in photos]
        with ThreadPoolExecutor(2) as pool:
            assert list(pool.map(detector.detect, photos)) == first


def test_answers_are_sorted(int8_detector: Detector, photos: list[bytes]) -> None:
    for photo in photos:
        scores = [one.score for one in int8_detector.detect(photo).detections]
        assert scores == sorted(scores, reverse=True)


def test_the_airplanes_of_the_sample(int8_detector: Detector, air_show: bytes) -> None:
    answer = int8_detector.detect(air_show)
    assert [one.label for one in answer.detections] == ["airplane"] * 5
    assert (answer.image.width, answer.image.height) == (3994, 3235)
    assert answer.detections[0].class_id == 5


def test_the_steps_give_what_the_whole_gives(int8_detector: Detector, air_show: bytes) -> None:
    options = DetectOptions(tiles=2)
    picture = int8_detector.decode(air_show, options)
    assert int8_detector.infer(picture, options) == int8_detector.detect(air_show, options)
    assert int8_detector.inspect(air_show, options).decoded_bytes > picture.image.width * (
        picture.image.height * 4
    )


def test_a_checkpoint_ends_a_detection(detector: Detector) -> None:
    def calls_of(tiles: int, *, end_after: int | None = None) -> int:
        calls: list[None] = []

        def checkpoint() -> None:
            calls.append(None)
            if len(calls) == end_after:
                raise TimeoutError

        detector.detect(PHOTO, DetectOptions(tiles=tiles), checkpoint)
        return len(calls)

    decoding = calls_of(1) - 1
    assert decoding >= 3  # before, between pieces of the file, and after
    assert calls_of(3) == decoding + 10
    for end_after in range(1, decoding + 11):
        with pytest.raises(TimeoutError):
            calls_of(3, end_after=end_after)


@pytest.mark.parametrize("data", [b"", b"text", PHOTO[:-9], b"GIF89a", PHOTO[:40]])
def test_what_is_no_picture_is_refused(detector: Detector, data: bytes) -> None:
    with pytest.raises(ImageRejected) as caught:
        detector.detect(data)
    assert caught.value.__cause__ is None


def test_limits_are_the_caller_s() -> None:
    read = ManifestFile(manifest("detr"), b"")
    limits = ImageLimits(max_pixels=100)
    small = Detector.from_onnx(read, constant_detr(LOGITS, BOXES), limits=limits)
    for step in (small.detect, small.decode, small.inspect):
        with pytest.raises(ImageTooLarge, match="at most 100 pixels"):
            step(PHOTO)


def test_a_memoryview_is_a_picture_too(detector: Detector) -> None:
    assert detector.detect(memoryview(PHOTO)) == detector.detect(PHOTO)


def test_tiny_and_extreme_pictures_are_answered(detector: Detector) -> None:
    for size in ((1, 1), (1, 30_000), (30_000, 1)):
        answer = detector.detect(encoded(Image.new("RGB", size), "PNG"), DetectOptions(tiles=3))
        assert (answer.image.width, answer.image.height) == size


def write(folder: Path, network: bytes, text: str = TOML) -> Path:
    folder.mkdir()
    (folder / "model.onnx").write_bytes(network)
    pinned = f'onnx_sha256 = "{hashlib.sha256(network).hexdigest()}"\n'
    (folder / "model.toml").write_text(pinned + text)
    return folder


def test_a_folder_is_loaded_and_its_manifest_s_digest_known(tmp_path: Path) -> None:
    folder = write(tmp_path / "a", constant_detr(LOGITS, BOXES))
    detector = Detector.load(folder)
    digest = hashlib.sha256((folder / "model.toml").read_bytes()).digest()
    assert detector.manifest_digest == digest
    assert repr(detector) == "<Detector test 1>"


def test_another_onnx_file_than_the_pinned_one_is_refused(tmp_path: Path) -> None:
    folder = write(tmp_path / "a", constant_detr(LOGITS, BOXES))
    (folder / "model.onnx").write_bytes(constant_detr(LOGITS, BOXES) + b"\0")
    with pytest.raises(ModelError, match="does not have the SHA-256"):
        Detector.load(folder)
    (folder / "model.toml").write_text(TOML)
    with pytest.raises(ModelError, match="pins no onnx_sha256"):
        Detector.load(folder)
    (folder / "model.onnx").unlink()
    with pytest.raises(ModelError, match="cannot read"):
        Detector.load(folder)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"input": {"width": 32, "height": 64}}, r"is \[1, 3, 64, 64\], the manifest makes"),
        ({"input": {"width": 64, "height": 64, "layout": "nhwc"}}, "the manifest makes"),
        ({"input": {"width": 64, "height": 64, "name": "x"}}, "inputs are images; the manifest"),
        ({"input": {"width": 64, "height": 64, "size_input": "s"}}, "has no input 's'"),
        ({"labels": ["cat", "dog"]}, r"gives logits \[1, queries, 2\]"),
    ],
)
def test_a_manifest_that_does_not_fit_is_explained(change: dict[str, object], said: str) -> None:
    with pytest.raises(ModelError, match=said):
        loaded(constant_detr(LOGITS, BOXES), manifest("detr", **change))


def test_a_uint8_manifest_for_a_float_network_is_explained() -> None:
    wanted = {"width": 64, "height": 64, "dtype": "uint8", "scale": 1}
    with pytest.raises(ModelError, match=r"is a tensor\(float\), the manifest makes uint8"):
        loaded(constant_detr(LOGITS, BOXES), manifest("detr", input=wanted))


def test_what_is_no_onnx_file_is_refused() -> None:
    with pytest.raises(ModelError, match="onnxruntime cannot load the ONNX file"):
        loaded(b"no network")


def test_where_the_processor_lacks_something_the_other_model_serves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = constant_detr(LOGITS, BOXES)
    needy = TOML + '[cpu]\nneeds = ["int8-dot"]\notherwise = "plain"\n'
    folder = write(tmp_path / "test-int8", network, needy.replace('"test"', '"test-int8"'))
    write(tmp_path / "plain", network, TOML.replace('"test"', '"plain"'))
    monkeypatch.setattr(detector_module, "cpu_features", lambda: frozenset({"int8-dot"}))
    assert Detector.load(folder).manifest.name == "test-int8"
    monkeypatch.setattr(detector_module, "cpu_features", frozenset[str])
    assert Detector.load(folder).manifest.name == "plain"
    (folder / "model.toml").write_text(
        (folder / "model.toml").read_text().replace('otherwise = "plain"\n', "")
    )
    with pytest.raises(ModelError, match="needs a processor with int8-dot"):
        Detector.load(folder)
