"""The published vectors are what the code does, and the code refuses what they say it refuses."""

from __future__ import annotations

from typing import Any

import pytest

from blindgate.sealing import bhttp, keys
from blindgate.sealing.errors import BinaryHttpError, KeyConfigError
from tests.vectors import sealing

VECTORS: dict[str, Any] = sealing.build()


@pytest.mark.parametrize(
    "case", VECTORS["binary_http"]["invalid_requests"], ids=lambda c: c["name"]
)
def test_invalid_messages_are_refused(case: dict[str, str]) -> None:
    with pytest.raises(BinaryHttpError):
        bhttp.decode_request(bytes.fromhex(case["encoded"]))


@pytest.mark.parametrize("case", VECTORS["key_lists"]["invalid"], ids=lambda c: c["name"])
def test_invalid_key_lists_are_refused(case: dict[str, str]) -> None:
    with pytest.raises(KeyConfigError):
        keys.decode_list(bytes.fromhex(case["body"]))


@pytest.mark.parametrize("case", VECTORS["key_lists"]["valid"], ids=lambda c: c["name"])
def test_the_preferred_key_is_chosen(case: dict[str, Any]) -> None:
    assert keys.choose(keys.decode_list(bytes.fromhex(case["body"]))).key_id == case["chosen"]
