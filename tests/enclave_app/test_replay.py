"""The replay cache: bounded, and closed when it is full."""

from __future__ import annotations

import pytest

from enclave_app.keys.replay_window import CAPACITY, ReplayCache
from enclave_app.scheduling.errors import Overloaded


def test_a_key_is_new_once_until_it_expires() -> None:
    cache = ReplayCache(retention=10)
    assert not cache.seen(b"a", 0)
    assert cache.remember(b"a", 0)
    assert cache.seen(b"a", 9.9)
    assert not cache.remember(b"a", 9.9)
    assert not cache.seen(b"a", 10)
    assert cache.remember(b"a", 10)


def test_a_full_cache_refuses_rather_than_forgets() -> None:
    cache = ReplayCache(retention=10, capacity=2)
    assert cache.remember(b"a", 0, b"one")
    assert cache.remember(b"b", 5, b"two")
    with pytest.raises(Overloaded):
        cache.remember(b"c", 9, b"three")
    assert not cache.remember(b"a", 9, b"three")
    assert cache.remember(b"c", 10, b"three")
    assert len(cache) == 2


def fill(cache: ReplayCache, caller: bytes | None, now: float = 0.0) -> int:
    """How many requests of one caller are taken until one is refused."""
    for taken in range(100_000):
        try:
            assert cache.remember(b"%r %d %f" % (caller, taken, now), now, caller)
        except Overloaded:
            return taken
    raise AssertionError


def test_a_caller_that_fills_its_share_leaves_room_for_the_others() -> None:
    cache = ReplayCache(retention=10, capacity=4096)
    assert fill(cache, b"greedy") == 3072
    assert fill(cache, b"another") == 768
    assert fill(cache, None) == 192
    for number in range(16):
        assert cache.remember(b"first of %d" % number, 0, b"caller %d" % number)


def test_requests_without_a_tag_are_those_of_one_caller() -> None:
    cache = ReplayCache(retention=10, capacity=64)
    assert fill(cache, None) == 48
    assert fill(cache, b"tagged") > 0


def test_what_expires_gives_its_share_back() -> None:
    cache = ReplayCache(retention=10, capacity=64)
    assert fill(cache, b"a", 0) == 48
    assert fill(cache, b"b", 5) == 12
    assert fill(cache, b"a", 10) == 39, "the other caller still holds 12 of 64"
    assert fill(cache, b"a", 20) == 48


def test_the_cache_s_size_is_what_the_documents_say() -> None:
    assert CAPACITY == 262_144
