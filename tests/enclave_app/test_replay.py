"""The replay cache: bounded, and closed when it is full."""

from __future__ import annotations

import pytest

from enclave_app.compute import Overloaded
from enclave_app.replay import ReplayCache


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
    assert cache.remember(b"a", 0)
    assert cache.remember(b"b", 5)
    with pytest.raises(Overloaded):
        cache.remember(b"c", 9)
    assert not cache.remember(b"a", 9)
    assert cache.remember(b"c", 10)
    assert len(cache) == 2
