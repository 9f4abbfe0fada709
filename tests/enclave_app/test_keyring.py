"""The keyring: two keys a generation, rotated daily, old ones dropped after the overlap."""

from __future__ import annotations

import gc
import hashlib
import weakref

import pytest

from blindgate.client.session import VERIFY_AGAIN_S
from blindgate.sealing import keys, ohttp
from blindgate.sealing.suites import Kem
from enclave_app.keys.keyring import LIFETIME_S, OVERLAP_S, Keyring


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_two_configurations_are_published_xwing_first() -> None:
    keyring = Keyring()
    configs = keys.decode_list(keyring.keys_body())
    assert [config.kem for config in configs] == [Kem.XWING, Kem.X25519]
    assert configs[0].key_id != configs[1].key_id
    assert keyring.digest() == hashlib.sha256(keyring.keys_body()).digest()
    assert keyring.published().key_ids == tuple(config.key_id for config in configs)


def test_every_published_key_opens_what_is_sealed_to_it() -> None:
    keyring = Keyring()
    for config in keys.decode_list(keyring.keys_body()):
        sealed = ohttp.seal_request(config, b"question")
        assert (
            ohttp.open_request(sealed.encapsulated, keyring.find).message.tobytes() == b"question"
        )


def test_a_restart_makes_other_keys() -> None:
    assert Keyring().keys_body() != Keyring().keys_body()


def test_rotation_publishes_new_keys_and_still_opens_the_old_ones() -> None:
    clock = Clock()
    keyring = Keyring(clock=clock)
    before = keyring.published()
    clock.now += LIFETIME_S - 1
    assert keyring.published() is before
    assert not keyring.rotate_if_due()
    clock.now += 1
    assert keyring.rotate_if_due()
    after = keyring.published()
    assert after.digest != before.digest
    assert set(after.key_ids).isdisjoint(before.key_ids)
    assert set(keyring.key_ids()) == {*after.key_ids, *before.key_ids}
    sealed = ohttp.seal_request(keys.decode_list(before.body)[0], b"question")
    assert ohttp.open_request(sealed.encapsulated, keyring.find).message.tobytes() == b"question"


def test_old_private_keys_are_dropped_after_the_overlap() -> None:
    clock = Clock()
    keyring = Keyring(clock=clock)
    before = keyring.published()
    private = keyring.find(before.key_ids[0])
    assert private is not None
    dropped = weakref.ref(private.private)
    del private
    clock.now += LIFETIME_S + OVERLAP_S - 1
    keyring.rotate_if_due()
    assert keyring.find(before.key_ids[0]) is not None
    clock.now += 1
    keyring.rotate_if_due()
    assert all(keyring.find(key_id) is None for key_id in before.key_ids)
    gc.collect()
    assert dropped() is None


def test_a_keyring_that_slept_for_days_does_not_open_with_old_keys() -> None:
    clock = Clock()
    keyring = Keyring(clock=clock)
    before = keyring.published()
    clock.now += 5 * LIFETIME_S
    assert keyring.find(before.key_ids[0]) is None
    assert len(keyring.key_ids()) == 2


def test_giving_way_takes_other_key_ids_at_once() -> None:
    keyring = Keyring()
    before = keyring.published()
    assert not keyring.give_way({(before.key_ids[0] + 1) % 256} - set(before.key_ids))
    assert keyring.published() is before
    taken = set(range(256)) - {3, 4, 5, 6} | set(before.key_ids)
    assert keyring.give_way(taken)
    assert set(keyring.published().key_ids) <= {3, 4, 5, 6}
    assert not any(keyring.find(key_id) for key_id in before.key_ids)


def test_retired_keys_give_way_too() -> None:
    now = 0.0
    keyring = Keyring(clock=lambda: now, lifetime=100, overlap=50)
    retired = keyring.published()
    now = 110.0
    current = keyring.published()
    assert keyring.find(retired.key_ids[0]) is not None
    assert not keyring.give_way(retired.key_ids[:1])
    assert keyring.find(retired.key_ids[0]) is None
    assert keyring.published() is current


def test_at_most_three_generations_are_kept() -> None:
    clock = Clock()
    keyring = Keyring(clock=clock, lifetime=10, overlap=1000)
    seen = [keyring.published()]
    for rotation in range(1, 6):
        clock.now += 10
        seen.append(keyring.published())
        assert len(keyring.key_ids()) == 2 * min(rotation + 1, 3)
    kept = {key_id for each in seen[-3:] for key_id in each.key_ids}
    assert set(keyring.key_ids()) == kept
    assert all(keyring.find(key_id) is not None for key_id in kept)


def test_giving_way_again_and_again_keeps_only_what_is_not_taken() -> None:
    keyring = Keyring()
    for _ in range(10):
        before = keyring.published().key_ids
        assert keyring.give_way(before)
        assert keyring.key_ids() == keyring.published().key_ids
        assert set(before).isdisjoint(keyring.key_ids())
    assert keyring.give_way(range(-5, 500)), "even if all are taken"
    assert len(keyring.key_ids()) == 2


def test_dropping_a_retired_generation_publishes_nothing_new() -> None:
    clock = Clock()
    keyring = Keyring(clock=clock, lifetime=100, overlap=10)
    retired = keyring.published()
    clock.now += 100
    current = keyring.published()
    clock.now += 10
    assert not keyring.rotate_if_due()
    assert keyring.published() is current
    assert keyring.find(retired.key_ids[0]) is None
    assert keyring.find(current.key_ids[0]) is not None


def test_the_ids_after_the_overlap_are_the_current_ones_whatever_is_asked_first() -> None:
    for ask in (Keyring.key_ids, Keyring.published, Keyring.keys_body, Keyring.rotate_if_due):
        clock = Clock()
        keyring = Keyring(clock=clock, lifetime=100, overlap=10)
        old = set(keyring.key_ids())
        clock.now += 110
        found = ask(keyring)
        if ask is Keyring.key_ids:
            assert old.isdisjoint(found)  # type: ignore[arg-type]
        assert len(keyring.key_ids()) == 2
        assert old.isdisjoint(keyring.key_ids())


def test_a_generation_whose_time_is_over_retires_before_it_gives_way() -> None:
    clock = Clock()
    keyring = Keyring(clock=clock, lifetime=100, overlap=50)
    old = keyring.published().key_ids
    clock.now += 100
    assert not keyring.give_way(old), "the new generation has other ids already"
    assert set(keyring.key_ids()).isdisjoint(old)
    assert len(keyring.key_ids()) == 2


@pytest.mark.parametrize("taken", [255, 0])
def test_the_first_and_the_last_id_give_way_too(taken: int) -> None:
    keyring = Keyring(random=lambda count: (255).to_bytes(count, "big"))
    assert set(keyring.key_ids()) == {255, 0}
    assert not keyring.give_way([256, -1, 1000])
    assert keyring.give_way([taken])
    assert taken not in keyring.key_ids()


def test_lifetime_and_overlap_are_what_the_documents_say() -> None:
    assert LIFETIME_S == 86_400
    assert OVERLAP_S == 7_200
    assert OVERLAP_S >= 2 * VERIFY_AGAIN_S


def test_the_same_random_bytes_make_the_same_keys() -> None:
    assert Keyring(random=bytes).keys_body() == Keyring(random=bytes).keys_body()


def test_secrets_do_not_show() -> None:
    keyring = Keyring(random=lambda count: b"\xa7" * count)
    assert "redacted" in repr(keyring)
    assert "a7a7" not in repr(keyring)
    assert r"\xa7\xa7" not in repr(keyring)
