"""What pyproject.toml declares: the client's requirements, its extras and the dependency groups."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).resolve().parents[1]
_DECLARED: Final[dict[str, Any]] = tomllib.loads((ROOT / "pyproject.toml").read_text())


def _group(name: str) -> list[str]:
    found: list[str] = []
    for each in _DECLARED["dependency-groups"][name]:
        found += [each] if isinstance(each, str) else _group(each["include-group"])
    return found


VERSION: Final[str] = _DECLARED["project"]["version"]
CLIENT: Final[list[str]] = _DECLARED["project"]["dependencies"]
EXTRAS: Final[dict[str, list[str]]] = _DECLARED["project"]["optional-dependencies"]
#: With what the groups include.
GROUPS: Final = {name: _group(name) for name in _DECLARED["dependency-groups"]}
