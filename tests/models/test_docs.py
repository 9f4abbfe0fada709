from __future__ import annotations

import re
from pathlib import Path

import pytest

from bench.detector import write
from enclave_app.detector.manifest import parse_manifest

DOCUMENT = Path(__file__).resolve().parents[2] / "docs/models.md"
EXAMPLES = re.findall(r"```toml\n(.*?)```", DOCUMENT.read_text(), re.DOTALL)


@pytest.mark.parametrize("text", EXAMPLES, ids=lambda text: text.split('"')[1])
def test_every_example_manifest_is_valid(text: str) -> None:
    assert parse_manifest(text.encode()).known_labels


def test_there_is_an_example_for_yolox_and_for_rt_detr() -> None:
    assert [parse_manifest(text.encode()).family for text in EXAMPLES] == ["yolox", "boxes", "detr"]


def test_tables_are_put_between_their_marks(tmp_path: Path) -> None:
    document = tmp_path / "models.md"
    document.write_text("a\n<!-- speed: begin -->\nold\n<!-- speed: end -->\nb\n")
    write(document, {"speed": "| new |"})
    assert document.read_text() == "a\n<!-- speed: begin -->\n| new |\n<!-- speed: end -->\nb\n"
    with pytest.raises(SystemExit, match="no place for the table 'accuracy'"):
        write(document, {"accuracy": "x"})
