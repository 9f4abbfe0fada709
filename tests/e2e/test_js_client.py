"""The JavaScript client against the real stack."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.clients.javascript import NODE, built, counted, needs_node, run
from tests.e2e.live import LiveStack

__all__ = ["built"]

pytestmark = [pytest.mark.e2e, *needs_node]


@pytest.mark.usefixtures("built")
def test_the_javascript_client_is_answered_by_the_real_worker(
    stack: LiveStack, coffee: Path
) -> None:
    assert NODE is not None
    output = run(
        *(NODE, "--test", "dist/test/live.test.js"),
        BLINDGATE_URL=stack.url,
        BLINDGATE_DEV_ROOT=stack.running.state,
        BLINDGATE_PHOTO=str(coffee),
        BLINDGATE_LABEL="cup",
    )
    assert counted(output, "pass") == 4
    assert counted(output, "skipped") == 0
