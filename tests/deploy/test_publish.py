"""What `deploy/publish.py` takes over from the image's builder."""

from __future__ import annotations

import hashlib
import importlib.util
import json
from pathlib import Path
from types import ModuleType

import pytest

from tests.deploy import terraform as tf

NEEDS = {
    "architecture": "arm64",
    "memory_mib": 2048,
    "cpus": 1,
    "kms": {"regions": ["us-east-1"], "fips": False},
}


def load() -> ModuleType:
    path = tf.ROOT / "deploy" / "publish.py"
    spec = importlib.util.spec_from_file_location("deploy_publish", path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


publish = load()


@pytest.fixture
def eif(tmp_path: Path) -> Path:
    path = tmp_path / "blue.eif"
    path.write_bytes(b"image")
    return path


def test_the_entry_has_what_the_image_needs(eif: Path) -> None:
    digest = hashlib.sha256(b"image").hexdigest()
    written = {"version": 1, "eif_sha256": digest, "pcrs": {}, **NEEDS}
    (eif.parent / "blue.requirements.json").write_text(json.dumps(written))
    assert publish.requirements(eif) == NEEDS


def test_an_image_built_before_kms_was_stated_can_still_be_published(eif: Path) -> None:
    needs = {name: value for name, value in NEEDS.items() if name != "kms"}
    digest = hashlib.sha256(b"image").hexdigest()
    (eif.parent / "blue.requirements.json").write_text(json.dumps({"eif_sha256": digest, **needs}))
    assert publish.requirements(eif) == needs


def test_an_image_of_another_builder_has_no_requirements(eif: Path) -> None:
    assert publish.requirements(eif) is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (json.dumps({**NEEDS, "eif_sha256": "00" * 32}), "about another image"),
        (json.dumps(NEEDS), "is not what"),
        ("[]", "is not what"),
        ("{", "is not what"),
    ],
)
def test_requirements_of_another_image_are_refused(eif: Path, text: str, message: str) -> None:
    (eif.parent / "blue.requirements.json").write_text(text)
    with pytest.raises(ValueError, match=message):
        publish.requirements(eif)
