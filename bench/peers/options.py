"""What every peer is told: where to listen and which model to load."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

PORT_VARIABLE: Final = "BENCH_PORT"
MODEL_VARIABLE: Final = "BENCH_MODEL"


def port() -> int:
    """The port of 127.0.0.1."""
    return int(os.environ[PORT_VARIABLE])


def model() -> Path:
    """The detector's folder."""
    return Path(os.environ[MODEL_VARIABLE])


def cores() -> int:
    """As many as this process may use."""
    return len(os.sched_getaffinity(0))
