"""The models under test, loaded once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from enclave_app.detector import Detector
from models.fetch import pull

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.fixture(scope="session")
def default_detector() -> Detector:
    """The float default, from the cache, where the first test run puts it."""
    return Detector.load(pull("ssd-mobilenet-v2-coco"))


@pytest.fixture(scope="session")
def int8_detector() -> Detector:
    return Detector.load(pull("ssd-mobilenet-v2-coco-int8"))


@pytest.fixture(scope="session")
def yolox_detector(
    vector: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory
) -> Detector:
    cache, file = tmp_path_factory.mktemp("yolox"), vector("yolox_nano.onnx")
    return Detector.load(pull("yolox-nano", cache=cache, brought=file))


@pytest.fixture(scope="session")
def nanodet_detector(
    vector: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory
) -> Detector:
    cache, file = tmp_path_factory.mktemp("nanodet"), vector("nanodet_m_416.onnx")
    return Detector.load(pull("nanodet-m-416", cache=cache, brought=file))


@pytest.fixture(scope="session")
def photos(vector: Callable[[str], Path]) -> list[bytes]:
    """A few photos of the annotated set."""
    files = sorted((vector("coco-mini") / "images").glob("*.jpg"))
    return [path.read_bytes() for path in files[:4]]


@pytest.fixture(scope="session")
def air_show(vector: Callable[[str], Path]) -> bytes:
    """The photo of the AWS sample: 12.9 megapixels, five airplanes."""
    return vector("air-show.jpg").read_bytes()
