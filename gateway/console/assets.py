"""The built files of the served page, read once when the gateway starts."""

from __future__ import annotations

import gzip
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

DIST: Final = Path(__file__).parent / "dist"
SERVED: Final = DIST / "served"
STANDALONE: Final = DIST / "standalone" / "index.html"
#: What Vite writes; a file of another kind is none of ours.
_MEDIA_TYPES: Final = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}


@dataclass(frozen=True, slots=True)
class Asset:
    """One file, as it is and compressed."""

    body: bytes = field(repr=False)
    compressed: bytes = field(repr=False)
    media_type: str


def read_assets(folder: Path = SERVED) -> dict[str, Asset]:
    """The files by their path below the folder, such as `index.html`; none if it was not built."""
    found = {}
    for path in sorted(folder.rglob("*")):
        if (media_type := _MEDIA_TYPES.get(path.suffix)) and path.is_file():
            body = path.read_bytes()
            compressed = gzip.compress(body, mtime=0)
            found[path.relative_to(folder).as_posix()] = Asset(body, compressed, media_type)
    return found
