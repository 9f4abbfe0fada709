from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import pytest

from enclave_app.detector.errors import ManifestError
from enclave_app.detector.labels import COCO_80, COCO_91
from enclave_app.detector.manifest import MAX_MANIFEST_BYTES, parse_manifest, read_manifest

if TYPE_CHECKING:
    from pathlib import Path

SMALL = """
name = "my-model"
version = "1"
family = "yolox"
labels = "coco-80"
licence = { spdx = "Apache-2.0" }
input = { width = 640, height = 640 }
thresholds = { score = 0.3 }
"""


def test_a_few_lines_are_enough() -> None:
    manifest = parse_manifest(SMALL.encode())
    assert manifest.labels == COCO_80
    assert manifest.input.channels == "bgr"
    assert manifest.input.resize == "letterbox"
    assert manifest.input.fill == 114


def test_what_the_manifest_says_comes_before_what_the_family_has() -> None:
    text = SMALL.replace("height = 640", 'height = 640, channels = "rgb"')
    assert parse_manifest(text.encode()).input.channels == "rgb"


def test_twenty_mistakes_are_listed_and_the_others_counted() -> None:
    unknown = "".join(f"unknown{number} = 1\n" for number in range(20))
    with pytest.raises(ManifestError) as refused:
        parse_manifest((unknown + SMALL).encode())
    assert str(refused.value).count("\n") == 19
    with pytest.raises(ManifestError) as refused:
        parse_manifest((f"{'x' * 1000} = 1\nyet_another = 1\n{unknown}{SMALL}").encode())
    lines = str(refused.value).splitlines()
    assert len(lines) == 21
    assert lines[-1] == "model.toml: 2 further mistakes"
    assert max(map(len, lines)) < 200


def test_a_manifest_has_256_kib_at_most() -> None:
    filled = SMALL.encode() + b"#" * (262_144 - len(SMALL))
    assert parse_manifest(filled).name == "my-model"
    with pytest.raises(ManifestError, match=r"model\.toml is larger than 262144 bytes"):
        parse_manifest(filled + b"#")


def test_what_is_nested_too_deeply_is_an_error_of_the_manifest() -> None:
    with pytest.raises(ManifestError, match="nested too deeply"):
        parse_manifest(b"name = " + b"[" * 10_000)


def test_coco_numbers() -> None:
    assert len(COCO_80) == 80
    assert [COCO_91[number] for number in (1, 5, 12, 13, 90)] == [
        "person",
        "airplane",
        "",
        "stop sign",
        "toothbrush",
    ]
    assert tuple(name for name in COCO_91 if name) == COCO_80


def test_the_digest_is_that_of_the_file_as_it_stands(tmp_path: Path) -> None:
    path = tmp_path / "model.toml"
    path.write_text(SMALL)
    assert read_manifest(path).digest == hashlib.sha256(SMALL.encode()).digest()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("yolox", "yolov99"), "family: Input should be 'boxes', 'yolox', 'nanodet' or 'detr'"),
        (("coco-80", "coco-79"), "labels: no label set 'coco-79'; there are coco-80, coco-91"),
        (('"coco-80"', '["cat", "cat"]'), "labels: labels must be 1 to 2000 different names"),
        (('"coco-80"', '["cat,dog"]'), "labels: 'cat,dog' is no label"),
        (('"coco-80"', "[]"), "labels: labels must be 1 to 2000 different names"),
        (("width = 640", "width = 9"), "input.width: Input should be greater than or equal to 16"),
        (("width = 640", "widht = 640"), "input.widht: Extra inputs are not permitted"),
        (("score = 0.3", "score = 3"), "thresholds.score: Input should be less than or equal to 1"),
        (("score = 0.3", "score = nan"), "thresholds.score: Input should be a finite number"),
        (('name = "my-model"', 'name = "../x"'), "name: String should match pattern"),
        (('name = "my-model"\n', ""), "name: Field required"),
        (("height = 640", 'height = 640, dtype = "uint8", scale = 2'), "takes pixels as they are"),
        (("height = 640", "height = 640, std = [1, 0, 1]"), "std must be above 0"),
        (('version = "1"', 'version = "1"\nonnx_sha256 = "abc"'), "onnx_sha256: String should"),
        (("name = ", "name "), "is not TOML"),
    ],
)
def test_every_mistake_is_named(change: tuple[str, str], said: str) -> None:
    with pytest.raises(ManifestError) as caught:
        parse_manifest(SMALL.replace(*change).encode(), "mine/model.toml")
    assert said in str(caught.value)
    assert "mine/model.toml" in str(caught.value)


def test_all_mistakes_are_named_at_once() -> None:
    text = SMALL.replace("yolox", "x").replace("score = 0.3", "score = 3")
    with pytest.raises(ManifestError) as caught:
        parse_manifest(text.encode())
    assert len(str(caught.value).splitlines()) == 2


def test_a_missing_or_huge_manifest_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="cannot read"):
        read_manifest(tmp_path / "model.toml")
    (tmp_path / "model.toml").write_bytes(b"#" * (MAX_MANIFEST_BYTES + 1))
    with pytest.raises(ManifestError, match="larger than"):
        read_manifest(tmp_path / "model.toml")
    (tmp_path / "model.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(ManifestError, match="not TOML"):
        read_manifest(tmp_path / "model.toml")
