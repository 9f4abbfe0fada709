"""The console begins where the API and the command line begin."""

from __future__ import annotations

import re
from pathlib import Path

from models.registry import DEFAULT, find

FINDINGS = Path(__file__).parents[2] / "console" / "src" / "findings.ts"


def test_the_console_first_shows_what_the_api_returns_by_default() -> None:
    first = re.findall(r"FIRST_THRESHOLD = ([\d.]+);", FINDINGS.read_text())
    assert [float(each) for each in first] == [find(DEFAULT).manifest.thresholds.score]
