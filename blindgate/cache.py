"""Where downloads and intermediate results are kept between builds."""

from __future__ import annotations

import os
from pathlib import Path


def cache_folder() -> Path:
    """`$BLINDGATE_CACHE`, or `~/.cache/blindgate`."""
    named = os.environ.get("BLINDGATE_CACHE")
    return Path(named) if named else Path.home() / ".cache" / "blindgate"
