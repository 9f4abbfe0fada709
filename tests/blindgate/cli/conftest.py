"""A command line that finds no configuration, variables or models of the person who runs tests."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def nobody(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty home; no variable of ours is set."""
    home = tmp_path_factory.mktemp("home")
    for name in [each for each in os.environ if each.startswith("BLINDGATE_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(home / "config"))
    monkeypatch.setenv("XDG_STATE_HOME", str(home / "state"))
    monkeypatch.setenv("BLINDGATE_CACHE", str(home / "cache"))
    return home
