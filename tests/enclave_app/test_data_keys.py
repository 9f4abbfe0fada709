"""The cache of data keys: every bound, and one call for all who wait."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from enclave_app.data_keys import CacheLimits, DataKeyCache


class Kms:
    """Counts calls."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self) -> bytes:
        self.calls += 1
        return b"key %d" % self.calls


def test_a_key_serves_again_without_a_call() -> None:
    kms, cache = Kms(), DataKeyCache(CacheLimits())
    assert [cache.get(b"a", 10, kms) for _ in range(100)] == [b"key 1"] * 100
    assert kms.calls == 1


def test_names_are_kept_apart() -> None:
    kms, cache = Kms(), DataKeyCache(CacheLimits())
    assert cache.get(b"a", 1, kms) != cache.get(b"b", 1, kms)


def test_a_key_serves_max_uses_messages() -> None:
    kms, cache = Kms(), DataKeyCache(CacheLimits(max_uses=3))
    for _ in range(9):
        cache.get(b"a", 1, kms)
    assert kms.calls == 3


def test_a_key_serves_max_bytes() -> None:
    kms, cache = Kms(), DataKeyCache(CacheLimits(max_bytes=100))
    for _ in range(8):
        cache.get(b"a", 25, kms)
    assert kms.calls == 2
    cache.get(b"b", 101, kms)
    cache.get(b"b", 101, kms)
    assert kms.calls == 4, "a message over the bound leaves nothing behind"


def test_a_key_serves_max_age() -> None:
    now = [0.0]
    kms, cache = Kms(), DataKeyCache(CacheLimits(max_age_s=300), clock=lambda: now[0])
    cache.get(b"a", 1, kms)
    now[0] = 299.0
    cache.get(b"a", 1, kms)
    assert kms.calls == 1
    now[0] = 300.0
    cache.get(b"a", 1, kms)
    assert kms.calls == 2


def test_keys_that_are_over_do_not_stay_in_memory() -> None:
    now = [0.0]
    kms, cache = Kms(), DataKeyCache(CacheLimits(max_age_s=300), clock=lambda: now[0])
    for name in b"abcdef":
        cache.get(bytes([name]), 1, kms)
    now[0] = 301.0
    cache.get(b"z", 1, kms)
    assert len(cache) == 1


def test_the_least_recently_used_makes_room() -> None:
    kms, cache = Kms(), DataKeyCache(CacheLimits(entries=2))
    for name in (b"a", b"b", b"a", b"c"):
        cache.get(name, 1, kms)
    assert (kms.calls, len(cache)) == (3, 2)
    cache.get(b"a", 1, kms)
    assert kms.calls == 3
    cache.get(b"b", 1, kms)
    assert kms.calls == 4


def test_no_entries_means_no_cache() -> None:
    kms, cache = Kms(), DataKeyCache(CacheLimits(entries=0))
    for _ in range(3):
        cache.get(b"a", 1, kms)
    assert (kms.calls, len(cache)) == (3, 0)


def wait_until_all_ask(cache: DataKeyCache, release: Callable[[], bytes]) -> list[object]:
    """Eight threads ask at once while the first call is on its way."""

    def ask(_: int) -> object:
        try:
            return cache.get(b"a", 1, release)
        except OSError as error:
            return str(error)

    with ThreadPoolExecutor(8) as pool:
        return list(pool.map(ask, range(8), timeout=10))


def test_all_who_wait_share_one_call() -> None:
    kms, cache = Kms(), DataKeyCache(CacheLimits())
    asked = threading.Event()

    def slowly() -> bytes:
        asked.wait(0.05)
        return kms()

    assert wait_until_all_ask(cache, slowly) == [b"key 1"] * 8
    assert kms.calls == 1


def test_a_failed_call_fails_all_who_wait_and_is_forgotten() -> None:
    cache, failed = DataKeyCache(CacheLimits()), []

    def fail() -> bytes:
        threading.Event().wait(0.05)
        failed.append(1)
        raise OSError("away")

    assert wait_until_all_ask(cache, fail) == ["away"] * 8
    assert len(cache) == 0
    assert cache.get(b"a", 1, lambda: b"key") == b"key"


def test_who_waited_for_a_key_that_serves_once_asks_alone() -> None:
    kms, cache = Kms(), DataKeyCache(CacheLimits(max_uses=1))
    lock = threading.Lock()

    def slowly() -> bytes:
        with lock:
            return kms()

    wait_until_all_ask(cache, slowly)
    assert kms.calls == 8


@pytest.mark.parametrize("what", [repr, str])
def test_a_cache_shows_no_key(what: Callable[[object], str]) -> None:
    cache = DataKeyCache(CacheLimits())
    cache.get(b"a", 1, lambda: b"secret")
    assert "secret" not in what(cache) + what(list(cache._entries.values()))
