"""The cache of data keys: every bound, and one call for all who wait."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from enclave_app.envelopes.data_key_cache import CacheLimits, DataKeyCache
from enclave_app.kms.errors import KmsRefused


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
    assert kms.calls == 4
    assert len(cache) == 1, "a message over the bound leaves nothing behind"


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


def test_one_entry_is_a_cache_of_one_key() -> None:
    kms, cache = Kms(), DataKeyCache(CacheLimits(entries=1))
    for name in (b"a", b"a", b"b", b"b"):
        cache.get(name, 1, kms)
    assert (kms.calls, len(cache)) == (2, 1)


def test_no_entries_means_no_cache() -> None:
    kms, cache = Kms(), DataKeyCache(CacheLimits(entries=0))
    for _ in range(3):
        cache.get(b"a", 1, kms)
    assert (kms.calls, len(cache)) == (3, 0)


class Gate:
    """A call to KMS that is answered when the test says so."""

    def __init__(self, answer: Callable[[], bytes]) -> None:
        self.entered = threading.Event()
        self.let_go = threading.Event()
        self.calls = 0
        self._answer = answer

    def __call__(self) -> bytes:
        self.calls += 1
        self.entered.set()
        assert self.let_go.wait(10)
        return self._answer()


def ask_together(cache: DataKeyCache, gate: Gate, many: int = 8) -> list[bytes | Exception]:
    """What `many` threads get that ask while the first one's call is on its way."""

    def ask() -> bytes | Exception:
        try:
            return cache.get(b"a", 1, gate)
        except Exception as error:  # noqa: BLE001 - it is what the test looks at
            return error

    waiting = threading.Semaphore(0)
    original = Future.exception

    def waits(call: Future[None], timeout: float | None = None) -> BaseException | None:
        waiting.release()
        return original(call, timeout)

    with ThreadPoolExecutor(many) as pool, pytest.MonkeyPatch.context() as patch:
        first = pool.submit(ask)
        assert gate.entered.wait(10)
        patch.setattr("enclave_app.envelopes.data_key_cache.Future.exception", waits)
        others = [pool.submit(ask) for _ in range(many - 1)]
        for _ in others:
            assert waiting.acquire(timeout=10)
        patch.undo()
        gate.let_go.set()
        return [each.result(10) for each in (first, *others)]


def test_all_who_wait_share_one_call() -> None:
    kms, cache = Kms(), DataKeyCache(CacheLimits())
    gate = Gate(kms)
    assert ask_together(cache, gate) == [b"key 1"] * 8
    assert gate.calls == 1


def failing() -> bytes:
    raise OSError(111, "away")


def test_a_failed_call_fails_all_who_wait_and_is_forgotten() -> None:
    cache, gate = DataKeyCache(CacheLimits()), Gate(failing)
    failures = ask_together(cache, gate)
    assert gate.calls == 1
    assert [str(each) for each in failures] == ["[Errno 111] away"] * 8
    assert len(cache) == 0
    assert cache.get(b"a", 1, lambda: b"key") == b"key"


def refusing() -> bytes:
    raise KmsRefused(("request 7",))


@pytest.mark.parametrize("fail", [failing, refusing])
def test_every_thread_raises_an_exception_of_its_own(fail: Callable[[], bytes]) -> None:
    """Raising one instance in several threads mixes their tracebacks."""
    failures = ask_together(DataKeyCache(CacheLimits()), Gate(fail))
    assert len({id(each) for each in failures}) == 8
    for each in failures:
        assert isinstance(each, OSError | KmsRefused)
        assert vars(each) == vars(failures[0])
        assert each.args == failures[0].args  # type: ignore[union-attr]
        frames = 0
        traceback = each.__traceback__
        while traceback is not None:
            frames, traceback = frames + 1, traceback.tb_next
        assert frames <= 4
        assert each.__cause__ is None
        assert each.__context__ is None


def test_who_waited_for_a_key_that_serves_once_asks_alone() -> None:
    kms, cache = Kms(), DataKeyCache(CacheLimits(max_uses=1))
    lock = threading.Lock()

    def slowly() -> bytes:
        with lock:
            return kms()

    gate = Gate(slowly)
    assert len(set(ask_together(cache, gate))) == 8
    assert kms.calls == 8


def test_a_refusal_is_remembered_for_ten_seconds() -> None:
    now = [0.0]
    cache, gate = DataKeyCache(CacheLimits(), clock=lambda: now[0]), Gate(refusing)
    gate.let_go.set()
    for at, calls in ((0.0, 1), (5.0, 1), (9.99, 1), (10.0, 2), (19.99, 2), (20.0, 3)):
        now[0] = at
        with pytest.raises(KmsRefused) as refused:
            cache.get(b"a", 1, gate)
        assert gate.calls == calls
        assert refused.value.request_ids == (("request 7",) if at % 10 == 0 else ())
    assert cache.get(b"b", 1, lambda: b"key") == b"key"


def test_refusals_are_remembered_in_bounded_memory() -> None:
    cache, gate = DataKeyCache(CacheLimits(), clock=lambda: 0.0), Gate(refusing)
    gate.let_go.set()
    for number in range(1025):
        with pytest.raises(KmsRefused):
            cache.get(b"%d" % number, 1, gate)
    assert gate.calls == 1025
    assert len(cache._refused) == 1024
    for number, calls in ((1024, 1025), (1, 1025), (0, 1026)):
        with pytest.raises(KmsRefused):
            cache.get(b"%d" % number, 1, gate)
        assert gate.calls == calls, "the oldest is forgotten"


def test_expired_refusals_leave_memory() -> None:
    now = [0.0]
    cache, gate = DataKeyCache(CacheLimits(), clock=lambda: now[0]), Gate(refusing)
    gate.let_go.set()
    for number in range(10):
        with pytest.raises(KmsRefused):
            cache.get(b"%d" % number, 1, gate)
    now[0] = 10.0
    cache.get(b"a", 1, lambda: b"key")
    assert len(cache._refused) == 0


def test_the_defaults() -> None:
    limits = CacheLimits()
    assert (limits.entries, limits.max_age_s, limits.max_uses, limits.max_bytes) == (
        256, 300.0, 1000, 1_073_741_824,
    )  # fmt: skip


@pytest.mark.parametrize("what", [repr, str])
def test_a_cache_shows_no_key(what: Callable[[object], str]) -> None:
    cache = DataKeyCache(CacheLimits())
    cache.get(b"a", 1, lambda: b"secret")
    assert "secret" not in what(cache) + what(list(cache._entries.values()))
