"""The fuzz harness on damaged messages; tests/fuzz gives it random bytes."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from blindgate.sealing import keys
from tests.blindgate.sealing.test_bhttp import (
    REQUEST,
    REQUEST_CHUNKED,
    RESPONSE,
    RESPONSE_CHUNKED,
)
from tests.blindgate.sealing.test_keys import X25519
from tests.fuzz.sealing import one_input

SEEDS = (REQUEST, REQUEST_CHUNKED, RESPONSE, RESPONSE_CHUNKED, keys.encode_list([X25519]))


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(SEEDS), st.data())
def test_damaged_messages(seed: bytes, data: st.DataObject) -> None:
    damaged = bytearray(seed)
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(damaged) - 1))
        damaged[at] = data.draw(st.integers(0, 255))
    one_input(bytes(damaged[: data.draw(st.integers(0, len(damaged)))]))
