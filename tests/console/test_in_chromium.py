"""The console in a real Chromium, against the real stack: `src/*.test.ts`."""

from __future__ import annotations

import pytest

from tests.clients.javascript import counted
from tests.console.chromium import FOLDER, node

THEMES = sorted(path.name.removesuffix(".test.ts") for path in (FOLDER / "src").glob("*.test.ts"))


@pytest.mark.e2e
# The first run installs the locked packages and compiles.
@pytest.mark.timeout(600)
@pytest.mark.parametrize("theme", THEMES)
def test_a_person_uses_the_console(theme: str, running: dict[str, str]) -> None:
    output = node(f"{theme}.test", environment=running)
    assert counted(output, "fail") == 0
    assert counted(output, "skipped") == 0
    assert counted(output, "pass") > 0
