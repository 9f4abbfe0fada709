"""The output of nitro-cli (aws/aws-nitro-enclaves-cli)."""

from __future__ import annotations

import json
from typing import Any


def described_enclaves(output: str) -> list[dict[str, Any]] | None:
    """The enclaves that `nitro-cli describe-enclaves` lists, whatever its exit code.

    It prints the enclaves that responded and then fails (E39) while another one is ending
    (`src/enclave_proc_comm.rs`), so its output counts either way.

    Args:
        output: Its standard output; remarks go to standard error.

    Returns:
        One map for each enclave; None if it printed no list.
    """
    try:
        found = json.loads(output)
    except (ValueError, RecursionError):
        return None
    if not isinstance(found, list):
        return None
    return [each for each in found if isinstance(each, dict)]
