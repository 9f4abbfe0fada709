"""Key configurations: what is published, what is read, what is chosen."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from blindgate.sealing import keys
from blindgate.sealing.errors import KeyConfigError
from blindgate.sealing.suites import SYMMETRIC, Aead, Kem, Symmetric

X25519 = keys.KeyPair.from_seed(3, Kem.X25519, bytes(32)).config
XWING = keys.KeyPair.from_seed(200, Kem.XWING, bytes(32)).config


def listed(*configs: bytes) -> bytes:
    return b"".join(len(config).to_bytes(2, "big") + config for config in configs)


def test_a_list_survives_a_round_trip() -> None:
    body = keys.encode_list([XWING, X25519])
    assert keys.decode_list(body) == (XWING, X25519)
    assert len(XWING.encode()) == 1 + 2 + 1216 + 2 + 12


@pytest.mark.parametrize("order", [(XWING, X25519), (X25519, XWING)])
def test_xwing_is_preferred_whatever_the_order(order: tuple[keys.KeyConfig, ...]) -> None:
    assert keys.choose(order) is XWING


def test_aes_256_is_preferred_and_every_pair_of_ours_is_offered() -> None:
    assert X25519.choose() == Symmetric(1, Aead.AES_256_GCM)
    assert {pair.aead for pair in X25519.symmetric} == {1, 2, 3}


def test_what_we_do_not_speak_is_left_out() -> None:
    p256 = b"\x09\x00\x10" + bytes(65) + b"\x00\x04\x00\x01\x00\x01"
    other = b"\x0a\x00\x20" + bytes(32) + b"\x00\x04\x00\x03\x00\x01"
    mixed = b"\x0b\x00\x20" + bytes(32) + b"\x00\x08\x00\x03\x00\x01\x00\x01\x00\x03"
    assert keys.decode_list(listed(p256, other, mixed)) == (
        keys.KeyConfig(11, Kem.X25519, bytes(32), (Symmetric(1, 3),)),
    )
    with pytest.raises(KeyConfigError):
        keys.decode_list(listed(p256, other))


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"\x00", id="half a length"),
        pytest.param(listed(b""), id="empty configuration"),
        pytest.param(listed(X25519.encode())[:-1], id="cut"),
        pytest.param(listed(X25519.encode()[:-4]), id="algorithms cut"),
        pytest.param(listed(X25519.encode() + b"\0"), id="bytes after the algorithms"),
        pytest.param(listed(X25519.encode()[:35] + b"\0\0"), id="no algorithms"),
        pytest.param(X25519.encode(), id="no length prefix"),
        pytest.param(listed(X25519.encode(), X25519.encode()), id="one key id twice"),
        pytest.param(listed(*[b"\x01\x00\x10"] * 2), id="one unknown key id twice"),
        pytest.param(listed(*(bytes([i]) + X25519.encode()[1:] for i in range(17))), id="too many"),
        pytest.param(bytes(keys.MAX_BODY + 1), id="too large"),
    ],
)
def test_malformed_lists_are_refused(body: bytes) -> None:
    with pytest.raises(KeyConfigError):
        keys.decode_list(body)


@settings(max_examples=50, deadline=None)
@given(
    st.lists(
        st.builds(
            keys.KeyConfig,
            st.integers(0, 255),
            st.just(Kem.X25519),
            st.binary(min_size=32, max_size=32),
            st.lists(st.sampled_from(SYMMETRIC), min_size=1, max_size=4).map(tuple),
        ),
        min_size=1,
        max_size=8,
        unique_by=lambda config: config.key_id,
    )
)
def test_any_list_survives_a_round_trip(configs: list[keys.KeyConfig]) -> None:
    assert keys.decode_list(keys.encode_list(configs)) == tuple(configs)


@pytest.mark.parametrize("key_id", [-1, 256])
def test_a_key_id_is_one_byte(key_id: int) -> None:
    with pytest.raises(ValueError, match="one byte"):
        keys.KeyPair.from_seed(key_id, Kem.X25519, bytes(32))
