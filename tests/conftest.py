"""Fixtures that more than one package's tests use."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

import enclave_app  # noqa: F401 - turns telemetry off before a test imports ONNX Runtime
from tests.vectors import places
from tests.vectors.fetch import SOURCES

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

# Hypothesis would fail an example that takes over 200 ms, which any example may on a busy machine.
settings.register_profile("blindgate", deadline=None)
settings.load_profile("blindgate")


@pytest.fixture(scope="session")
def vector() -> Callable[[str], Path]:
    """Finds a real document, CMS blob, photo or model by its name, or skips the test."""

    def find(name: str) -> Path:
        path = places.find(name)
        if path is None:
            fetched = any(source.name == name for source in SOURCES)
            how = "`make vectors` fetches it" if fetched else "it has no known public address"
            pytest.skip(f"{name} is not part of the repository: {how}")
        return path

    return find
