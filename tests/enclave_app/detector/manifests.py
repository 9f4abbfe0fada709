"""Manifests made for tests."""

from __future__ import annotations

from typing import Any

from enclave_app.detector.manifest import Manifest


def manifest(family: str = "boxes", **changes: Any) -> Manifest:
    """A small valid manifest with some of its top-level fields changed."""
    content: dict[str, Any] = {
        "name": "test",
        "version": "1",
        "family": family,
        "labels": ["cat", "dog", "cow"],
        "licence": {"spdx": "MIT"},
        "input": {"width": 64, "height": 64},
        "thresholds": {"score": 0.5},
    }
    return Manifest.model_validate(content | changes)
