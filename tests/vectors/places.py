"""Where real test data is found: in the repository, fetched, or next to the checkout."""

from __future__ import annotations

from pathlib import Path

HERE = Path(__file__).resolve().parent
REAL = HERE / "real"
"""What may be passed on, and is part of the repository."""
FETCHED = HERE / "fetched"
"""What `make vectors` downloads; not part of the repository."""
_SHARED = HERE.parents[2] / "shared"
_ROOTS = (REAL, FETCHED, _SHARED / "vectors", _SHARED / "data")


def find(name: str) -> Path | None:
    """The file or folder of that name, such as `cms/edgebit-cms.ber`, or None."""
    return next((root / name for root in _ROOTS if (root / name).exists()), None)


def find_all(pattern: str) -> list[Path]:
    """Every file that a pattern such as `attestation/*.bin` matches, one for each name."""
    found: dict[str, Path] = {}
    for root in _ROOTS:
        for path in root.glob(pattern):
            found.setdefault(path.name, path)
    return [path for _, path in sorted(found.items())]
