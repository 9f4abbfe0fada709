"""`make console-picture`: the README's picture of the console, from the running stack."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from PIL import Image

from tests.console.chromium import ROOT, build, missing, node
from tests.console.conftest import console

TARGET = ROOT / "docs" / "images" / "console.png"
MAX_BYTES = 300_000


def main() -> None:
    """Take it, and make it small enough for a repository."""
    if reason := missing():
        sys.exit(reason)
    build()
    with tempfile.TemporaryDirectory() as folder:
        shot = Path(folder) / "shot.png"
        with console(Path(folder)) as environment:
            node("picture", str(shot), environment=environment)
        with Image.open(shot) as picture:
            few = picture.convert("RGB").quantize(256, Image.Quantize.MEDIANCUT)
            few.save(TARGET, optimize=True)
    size = TARGET.stat().st_size
    if size > MAX_BYTES:
        sys.exit(f"{TARGET} has {size:,} bytes, more than {MAX_BYTES:,}")
    print(f"{TARGET.relative_to(ROOT)}: {size:,} bytes")


if __name__ == "__main__":
    main()
