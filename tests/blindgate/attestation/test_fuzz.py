"""The fuzz harness on damaged documents; tests/fuzz gives it random bytes."""

from __future__ import annotations

import json

from hypothesis import given, settings
from hypothesis import strategies as st

from blindgate.attestation import UserData
from tests.fuzz.attestation import one_input
from tests.vectors.forge import BLUE, SHORT, document

SEEDS = (
    document(SHORT),
    UserData(bytes(32), bytes(32), bytes(32)).encode(),
    json.dumps({f"PCR{i}": value.hex() for i, value in BLUE.values.items()}).encode(),
)


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(SEEDS), st.data())
def test_damaged_documents(seed: bytes, data: st.DataObject) -> None:
    damaged = bytearray(seed)
    for _ in range(data.draw(st.integers(1, 3))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    one_input(bytes(damaged[: data.draw(st.integers(0, len(damaged)))]))
