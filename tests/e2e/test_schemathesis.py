"""schemathesis tries the API of a running gateway by its own description."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from gateway.auth.caller import Scope
from gateway.auth.key_file import change_keys
from gateway.auth.keys import KeyStore
from tests.e2e.live import LiveStack, live_stack

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]
ROOT = Path(__file__).resolve().parents[2]
#: Requests without a key meet the limit of failed sign-ins: 429 instead of 401.
#: `tests/gateway/auth` tries each operation without one.
LIMITED = "ignored_auth"
#: Nothing generated is an envelope that can be opened, a sealed request, or the id of a key.
UNTRUE = "positive_data_acceptance"


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[LiveStack, str]]:
    """A gateway that wants to know who calls, and a key for it."""
    path = tmp_path_factory.mktemp("guarded") / "keys.json"
    scopes = list(Scope)
    store, _, key = KeyStore().with_new("schemathesis", scopes, now=datetime.now(UTC))
    change_keys(path, lambda _: store)
    with live_stack(environment={"BLINDGATE_API_KEYS": str(path)}) as stack:
        yield stack, key


def test_every_answer_is_as_described_and_none_is_a_server_error(
    guarded: tuple[LiveStack, str], tmp_path: Path
) -> None:
    stack, key = guarded
    done = subprocess.run(
        [
            *(Path(sys.executable).parent / "schemathesis", "run", f"{stack.url}/openapi.json"),
            *("--checks", "all", "--exclude-checks", f"{UNTRUE},{LIMITED}"),
            # A deadline of no time at all is rightly answered with 504.
            *("-H", f"X-API-Key: {key}", "-H", "Request-Timeout: 60"),
            *("--phases", "examples,coverage,fuzzing", "--max-examples", "25"),
            *("--generation-database", "none", "--seed", "8", "--continue-on-failure"),
            *("--warnings", "off", "--no-color"),
        ],
        env={**os.environ, "SCHEMATHESIS_HOOKS": "tests.tools.schemathesis_hooks"}
        | {"PYTHONPATH": str(ROOT), "COLUMNS": "160"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
    assert "Tested: 19" in done.stdout
    assert "internal-error" not in stack.printed()
