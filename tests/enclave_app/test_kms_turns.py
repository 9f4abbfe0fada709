"""A slow KMS holds up only those who need it."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

import pytest

from enclave_app.kms.bulkhead import PATIENCE, WAITING, KmsTurns
from enclave_app.kms.client import UnwrappedKey
from enclave_app.kms.errors import KmsRefused, KmsUnavailable


class SlowKms:
    def __init__(self) -> None:
        self.let_go = threading.Event()
        self.entered = threading.Semaphore(0)

    def unwrap(self, blob: bytes, context: Mapping[str, str], key_arn: str) -> UnwrappedKey:
        self.entered.release()
        assert self.let_go.wait(10)
        if blob == b"refused":
            raise KmsRefused
        return UnwrappedKey(blob)


def test_those_over_the_number_are_sent_away_and_the_others_served() -> None:
    kms = SlowKms()
    turns = KmsTurns(kms, waiting=2, patience=0.01)
    with ThreadPoolExecutor(2) as pool:
        first = [pool.submit(turns.unwrap, bytes([n]), {}, "arn") for n in range(2)]
        for _ in first:
            assert kms.entered.acquire(timeout=10)
        with pytest.raises(KmsUnavailable):
            turns.unwrap(b"third", {}, "arn")
        kms.let_go.set()
        assert [one.result(10).plaintext for one in first] == [b"\0", b"\1"]
    assert turns.unwrap(b"later", {}, "arn").plaintext == b"later"


def test_one_caller_cannot_occupy_every_turn() -> None:
    kms = SlowKms()
    turns = KmsTurns(kms, patience=0.01)
    with ThreadPoolExecutor(8) as pool:
        greedy = [
            pool.submit(turns.unwrap, bytes([n]), {}, "arn", caller=b"greedy") for n in range(6)
        ]
        for _ in greedy:
            assert kms.entered.acquire(timeout=10)
        with pytest.raises(KmsUnavailable):
            turns.unwrap(b"one more", {}, "arn", caller=b"greedy")
        other = pool.submit(turns.unwrap, b"mine", {}, "arn", caller=b"another")
        assert kms.entered.acquire(timeout=10)
        untagged = pool.submit(turns.unwrap, b"theirs", {}, "arn")
        assert kms.entered.acquire(timeout=10)
        with pytest.raises(KmsUnavailable):
            turns.unwrap(b"a third caller's", {}, "arn", caller=b"third")
        kms.let_go.set()
        assert [one.result(10).plaintext for one in greedy] == [bytes([n]) for n in range(6)]
        assert (other.result(10).plaintext, untagged.result(10).plaintext) == (b"mine", b"theirs")
    assert turns.unwrap(b"later", {}, "arn", caller=b"greedy").plaintext == b"later"


def test_who_waits_gets_a_turn_as_soon_as_one_is_free() -> None:
    kms = SlowKms()
    turns = KmsTurns(kms, waiting=1, patience=60)
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(turns.unwrap, b"first", {}, "arn", caller=b"a")
        assert kms.entered.acquire(timeout=10)
        second = pool.submit(turns.unwrap, b"second", {}, "arn", caller=b"b")
        kms.let_go.set()
        assert first.result(10).plaintext == b"first"
        assert second.result(10).plaintext == b"second"


def test_the_defaults() -> None:
    assert (WAITING, PATIENCE) == (8, 0.5)


def test_a_refusal_gives_the_turn_back() -> None:
    kms = SlowKms()
    kms.let_go.set()
    turns = KmsTurns(kms, waiting=1, patience=0.01)
    for _ in range(3):
        with pytest.raises(KmsRefused):
            turns.unwrap(b"refused", {}, "arn")
    assert turns.unwrap(b"key", {}, "arn").plaintext == b"key"
