"""A slow KMS holds up only those who need it."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

import pytest

from enclave_app.kms.errors import KmsRefused, KmsUnavailable
from enclave_app.kms.turns import KmsTurns


class SlowKms:
    def __init__(self) -> None:
        self.let_go = threading.Event()
        self.entered = threading.Semaphore(0)

    def decrypt(self, blob: bytes, context: Mapping[str, str], key_arn: str) -> bytes:
        self.entered.release()
        assert self.let_go.wait(10)
        if blob == b"refused":
            raise KmsRefused
        return blob


def test_those_over_the_number_are_sent_away_and_the_others_served() -> None:
    kms = SlowKms()
    turns = KmsTurns(kms, waiting=2, patience=0.01)
    with ThreadPoolExecutor(2) as pool:
        first = [pool.submit(turns.decrypt, bytes([n]), {}, "arn") for n in range(2)]
        for _ in first:
            assert kms.entered.acquire(timeout=10)
        with pytest.raises(KmsUnavailable):
            turns.decrypt(b"third", {}, "arn")
        kms.let_go.set()
        assert [one.result(10) for one in first] == [b"\0", b"\1"]
    assert turns.decrypt(b"later", {}, "arn") == b"later"


def test_a_refusal_gives_the_turn_back() -> None:
    kms = SlowKms()
    kms.let_go.set()
    turns = KmsTurns(kms, waiting=1, patience=0.01)
    for _ in range(3):
        with pytest.raises(KmsRefused):
            turns.decrypt(b"refused", {}, "arn")
    assert turns.decrypt(b"key", {}, "arn") == b"key"
