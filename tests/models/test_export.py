from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import numpy as np
import pytest

from enclave_app.detector.manifest import WheelSource
from models.build import load_exporter
from models.fetch import kept_member
from models.graphdef import GraphError
from models.registry import find
from tests.models.protobuf import node

if TYPE_CHECKING:
    from pathlib import Path

MODEL = find("ssd-mobilenet-v2-coco")
EXPORTER = load_exporter(MODEL.folder / "export.py")


@pytest.fixture(scope="module")
def frozen_graph(float_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    assert float_folder.is_dir()  # pulled, so that the source is in the cache as well
    source = MODEL.manifest.source
    assert isinstance(source, WheelSource)
    return kept_member(source, tmp_path_factory.mktemp("scratch"))


def test_the_export_is_reproducible_to_the_byte(frozen_graph: bytes) -> None:
    exported = [hashlib.sha256(EXPORTER.export(frozen_graph)).hexdigest() for _ in range(2)]
    assert exported == [MODEL.manifest.onnx_sha256] * 2


def test_another_graph_is_refused() -> None:
    with pytest.raises(GraphError):
        EXPORTER.export(node(b"concat", b"ConcatV2", b"nothing"))
    with pytest.raises(GraphError):
        EXPORTER.export(b"")


def test_anchors_lie_as_the_paper_has_them() -> None:
    anchors = getattr(EXPORTER, "anchors")()  # noqa: B009
    assert anchors.shape == (1917, 4)
    assert anchors[0].tolist() == pytest.approx([0.5 / 19, 0.5 / 19, 0.1, 0.1])
    # the single cell of the coarsest map looks at the picture's middle
    assert np.allclose(anchors[-6:, :2], 0.5)
    assert anchors[-1].tolist() == pytest.approx([0.5, 0.5, 0.95**0.5, 0.95**0.5])
