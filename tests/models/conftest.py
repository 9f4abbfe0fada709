"""The shipped default, and a cache of the test's own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from models.fetch import pull

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="session")
def float_folder() -> Path:
    """The float default in the person's own cache, where the first test run puts it."""
    return pull("ssd-mobilenet-v2-coco")


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, which commands use too."""
    monkeypatch.setenv("BLINDGATE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"
