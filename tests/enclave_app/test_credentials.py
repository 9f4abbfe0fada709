"""What the enclave takes as credentials, and that it never shows them."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from enclave_app.kms.credentials import CredentialsError, CredentialStore

GOOD: dict[str, Any] = {
    "access_key_id": "ASIAEXAMPLEEXAMPLE",
    "secret_access_key": "a/secret+of=forty/characters0123456789ab",
    "session_token": "IQoJb3JpZ2luX2VjE" * 50,
    "expires": 1_800_000_000,
}


def pushed(**changes: object) -> bytes:
    return cbor2.dumps({**GOOD, **changes})


def test_pushed_credentials_are_the_current_ones() -> None:
    store = CredentialStore()
    assert store.current() is None
    store.replace(pushed())
    current = store.current()
    assert current is not None
    assert current.access_key_id == GOOD["access_key_id"]
    assert current.secret_access_key == GOOD["secret_access_key"]
    assert current.session_token == GOOD["session_token"]
    assert (current.generation, current.expires) == (1, GOOD["expires"])


def test_lasting_credentials_have_no_token_and_no_end() -> None:
    store = CredentialStore()
    store.replace(pushed(session_token=None, expires=None))
    assert not store.are_due


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(cbor2.dumps([1]), id="no map"),
        pytest.param(pushed() + b"\x00", id="a byte behind it"),
        pytest.param(cbor2.dumps({**GOOD, "more": 1}), id="another field"),
        pytest.param(
            cbor2.dumps({k: v for k, v in GOOD.items() if k != "expires"}), id="a field missing"
        ),
        pytest.param(pushed(access_key_id="short"), id="key id too short"),
        pytest.param(pushed(access_key_id="A" * 129), id="key id too long"),
        pytest.param(pushed(access_key_id=b"ASIAEXAMPLEEXAMPLE"), id="key id in bytes"),
        pytest.param(pushed(secret_access_key=""), id="no secret"),
        pytest.param(pushed(session_token="x\r\nhost: elsewhere"), id="a header in the token"),
        pytest.param(pushed(session_token="x" * 8193), id="token too long"),
        pytest.param(pushed(session_token="schl\u00fcssel"), id="token beyond ASCII"),
        pytest.param(pushed(expires=-1), id="an end before 1970"),
        pytest.param(pushed(expires=2**60), id="an end beyond all time"),
        pytest.param(pushed(expires=True), id="an end that is a boolean"),
        pytest.param(pushed(expires=1.5), id="an end with a fraction"),
        pytest.param(b"\xa4" * 20_000, id="too many bytes"),
    ],
)
def test_anything_else_is_refused_and_the_old_ones_stay(body: bytes) -> None:
    store = CredentialStore()
    store.replace(pushed())
    with pytest.raises(CredentialsError):
        store.replace(body)
    current = store.current()
    assert current is not None
    assert current.generation == 1


@given(st.binary(max_size=200))
def test_any_bytes_give_the_typed_error(body: bytes) -> None:
    with pytest.raises(CredentialsError):
        CredentialStore().replace(body)


def due(store: CredentialStore) -> bool:
    return store.are_due


def test_they_are_due_before_they_end_and_when_kms_refuses_them() -> None:
    now = [1_800_000_000.0 - 3600]
    store = CredentialStore(clock=lambda: now[0])
    assert due(store), "none were pushed yet"
    store.replace(pushed())
    assert not due(store)
    now[0] = 1_800_000_000.0 - 299
    assert due(store), "they end within 5 minutes"
    store.replace(pushed(expires=None))
    assert not due(store)
    current = store.current()
    assert current is not None
    store.refused(current)
    assert due(store), "KMS refused them"
    store.replace(pushed(expires=None))
    assert not due(store)


def test_a_refusal_of_old_credentials_says_nothing_about_newer_ones() -> None:
    store = CredentialStore()
    store.replace(pushed(expires=None))
    old = store.current()
    store.replace(pushed(expires=None))
    assert old is not None
    store.refused(old)
    assert not store.are_due


def test_a_caller_can_wait_for_newer_ones() -> None:
    store = CredentialStore()
    store.replace(pushed())
    old = store.current()
    push = threading.Timer(0.02, store.replace, [pushed(secret_access_key="newer")])
    push.start()
    newer = store.wait_newer(old, timeout=5)
    push.join()
    assert newer is not None
    assert newer.secret_access_key == "newer"
    assert store.wait_newer(newer, timeout=0.01) is None


def test_new_credentials_wake_a_caller_that_waits_already() -> None:
    waits = threading.Event()

    class Watched(threading.Condition):
        def wait(self, timeout: float | None = None) -> bool:
            waits.set()
            return super().wait(timeout)

    store = CredentialStore()
    store._changed = Watched()
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(store.wait_newer, None, 3600)
        assert waits.wait(10)
        store.replace(pushed())
        assert waiting.result(10) is store.current()


def test_the_longest_of_each_is_taken() -> None:
    store = CredentialStore()
    store.replace(
        pushed(
            access_key_id="A" * 128,
            secret_access_key="s" * 256,
            session_token="t" * 8192,
            expires=253_402_300_799,
        )
    )
    store.replace(pushed(access_key_id="A" * 16, secret_access_key="s", session_token="t"))
    current = store.current()
    assert current is not None
    assert current.generation == 2


@pytest.mark.parametrize(
    "changes", [{"secret_access_key": "s" * 257}, {"expires": 253_402_300_800}]
)
def test_one_more_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(CredentialsError):
        CredentialStore().replace(pushed(**changes))


@pytest.mark.parametrize(("left", "due_then"), [(300.0, False), (299.9, True), (-1.0, True)])
def test_they_are_due_five_minutes_before_they_end(left: float, due_then: bool) -> None:
    store = CredentialStore(clock=lambda: GOOD["expires"] - left)
    store.replace(pushed())
    assert store.are_due is due_then


def test_nothing_shows_them() -> None:
    store = CredentialStore()
    store.replace(pushed())
    shown = f"{store!r} {store.current()!r} {store}"
    with pytest.raises(CredentialsError) as caught:
        store.replace(pushed(expires="never"))
    shown += f"{caught.value!r} {caught.value.__cause__!r} {caught.value.__context__!r}"
    for secret in ("access_key_id", "secret_access_key", "session_token"):
        assert GOOD[secret] not in shown
