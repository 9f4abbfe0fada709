"""`/docs` in a real browser: its examples work as they are offered there."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.live import LiveStack
from tests.tools import npm, sdks

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.timeout(600),
    npm.needs_npm,
    pytest.mark.skipif(shutil.which("chromium") is None, reason="chromium is not installed"),
]


@pytest.fixture(scope="module")
def seen(
    stack: LiveStack,
    seal: Callable[[bytes], bytes],
    coffee: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> dict[str, Any]:
    envelope = tmp_path_factory.mktemp("docs") / "coffee.png.encrypted"
    envelope.write_bytes(seal(coffee.read_bytes()))
    assert npm.NODE is not None
    said = npm.run([npm.NODE, sdks.typescript() / "docs.js", stack.url, envelope], npm.FOLDER)
    found: dict[str, Any] = json.loads(said.splitlines()[0])
    return found


def test_the_page_complains_of_nothing_and_asks_nobody_else(seen: dict[str, Any]) -> None:
    assert seen["complaints"] == []


def test_its_examples_are_answered_as_they_are(seen: dict[str, Any]) -> None:
    shown = seen["shown"]
    assert "ssd-mobilenet" in shown["Models-listModels"]["body"]
    assert '"document"' in shown["Attestation-getAttestation"]["body"]
    metadata = shown["Open_Inference_Protocol-getModelVersionMetadata"]
    assert '"boxes"' in metadata["body"]
    for operation in ("Models-listModels", "Attestation-getAttestation"):
        assert shown[operation]["status"].startswith("200")
    assert metadata["status"].startswith("200")


def test_an_example_that_is_no_real_envelope_shows_its_problem(seen: dict[str, Any]) -> None:
    inferred = seen["shown"]["Open_Inference_Protocol-infer"]
    assert inferred["status"].startswith("422")
    assert "envelope-rejected" in inferred["body"]


def test_a_file_is_uploaded_and_its_objects_are_shown(seen: dict[str, Any]) -> None:
    detected = seen["shown"]["Detections-detect"]
    assert detected["status"].startswith("200")
    assert '"cup"' in detected["body"]
