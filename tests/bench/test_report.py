"""The page about performance says what its generator says."""

from __future__ import annotations

import re
from pathlib import Path

from bench.load.report import _INTRO, _PEERS

PAGE = (Path(__file__).parents[2] / "docs" / "performance.md").read_text()


def test_the_page_begins_as_the_generator_begins_it() -> None:
    assert PAGE.startswith(_INTRO.lstrip("\n"))
    assert _PEERS.strip() in PAGE


def test_no_server_has_figures_and_never_started() -> None:
    measured = set(re.findall(r"^\| ([^|]+?) \| \d+ \|", PAGE, re.MULTILINE))
    assert "bare loop" in measured
    never = re.findall(r"^- (.+) did not start:", PAGE, re.MULTILINE)
    assert not measured & set(never)
