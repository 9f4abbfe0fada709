"""Write a manifest as TOML."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from enclave_app.detector.labels import LABEL_SETS

if TYPE_CHECKING:
    from enclave_app.detector.manifest import Manifest


def manifest_toml(manifest: Manifest, comment: str = "") -> bytes:
    """A manifest as a `model.toml` that reads back as the same manifest.

    Args:
        manifest: What to write.
        comment: Lines for the file's head.
    """
    content = manifest.model_dump(mode="json", exclude_none=True, exclude_unset=True)
    for name, labels in LABEL_SETS.items():
        if tuple(content["labels"]) == labels:
            content["labels"] = name
    lines = [f"# {line}" for line in comment.splitlines()]
    lines += [f"{key} = {_value(value)}" for key, value in content.items() if not _table(value)]
    for key, value in content.items():
        if _table(value):
            lines += ["", f"[{key}]"]
            lines += [f"{name} = {_value(entry)}" for name, entry in value.items()]
    return ("\n".join(lines) + "\n").encode()


def _table(value: object) -> bool:
    return isinstance(value, dict)


def _value(value: object) -> str:
    # what JSON writes for text, numbers, booleans and lists of them is TOML too
    return json.dumps(value, ensure_ascii=False)
