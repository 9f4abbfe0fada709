"""API keys by themselves: made, found, expired, revoked, kept in a file or a secret."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import botocore.session
import pytest
from botocore.stub import Stubber
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from gateway.auth.caller import Scope
from gateway.auth.key_file import KeyFile, change_keys, read_keys
from gateway.auth.key_secret import KeySecret, SecretUnavailable, change_secret
from gateway.auth.keys import InvalidKeyStore, Keys, KeyStore, UnknownKeyId

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)


def made(**how: Any) -> tuple[KeyStore, str, str]:
    store, record, key = KeyStore().with_new("app", [Scope.DETECT], now=NOW, **how)
    return store, record.id, key


def test_a_key_is_found_by_itself_alone() -> None:
    store, key_id, key = made()
    assert key.startswith(f"bgk_{key_id}_")
    found = Keys(store).find(key, NOW)
    assert found is not None
    assert (found.id, found.name, found.scopes) == (key_id, "app", (Scope.DETECT,))


def test_the_store_does_not_hold_the_key() -> None:
    store, _, key = made()
    assert key not in store.to_json()
    assert key.rsplit("_", 1)[-1] not in store.to_json()
    assert store.keys[0].sha256 not in repr(store)


def test_what_is_not_the_key_is_not_found() -> None:
    store, key_id, key = made()
    _, _, other = made()
    keys = Keys(store)
    changed = key[:-1] + ("B" if key[-1] != "B" else "C")
    mixed = f"bgk_{key_id}_{other.split('_', 2)[2]}"
    wrong = [key[:-1], key + "A", changed, key.upper(), other, mixed, f" {key}", key + "\n", ""]
    assert [each for each in wrong if keys.find(each, NOW)] == []


@given(st.text())
def test_no_text_breaks_the_search(text: str) -> None:
    assert Keys(made()[0]).find("bgk_" + text, NOW) is None


def test_a_record_and_a_store_do_not_change() -> None:
    store, _, _ = made()
    with pytest.raises(ValidationError, match="frozen"):
        store.keys[0].scopes = (Scope.ADMIN,)  # type: ignore[misc]
    with pytest.raises(ValidationError, match="frozen"):
        store.keys = ()  # type: ignore[misc]


def test_a_key_expires() -> None:
    store, _, key = made(lifetime=timedelta(days=1))
    keys = Keys(store)
    assert keys.find(key, NOW + timedelta(hours=23))
    assert keys.find(key, NOW + timedelta(days=1)) is None


def test_a_revoked_key_stays_listed_and_is_not_found() -> None:
    store, key_id, key = made()
    revoked = store.without(key_id, NOW)
    assert Keys(revoked).find(key, NOW) is None
    assert revoked.keys[0].revoked == NOW
    assert revoked.without(key_id, NOW + timedelta(days=1)) == revoked
    with pytest.raises(UnknownKeyId):
        store.without("0" * 16, NOW)


@pytest.mark.parametrize(
    "change",
    [
        {"version": 2},
        {"surplus": 1},
        {"keys": [{}]},
        {"keys": "no"},
        {"keys": ["same", "same"]},
    ],
)
def test_a_store_that_is_none_is_refused(change: dict[str, Any]) -> None:
    record = json.loads(made()[0].to_json())["keys"][0]
    keys = change.get("keys", [record])
    if isinstance(keys, list):
        change = {**change, "keys": [record if each == "same" else each for each in keys]}
    with pytest.raises(InvalidKeyStore):
        KeyStore.from_json(json.dumps({"version": 1, "keys": [record], **change}))


@pytest.mark.parametrize(
    "change",
    [{"id": "x"}, {"sha256": "00"}, {"scopes": []}, {"scopes": ["all"]}, {"name": "a\nb"},
     {"created": "2026-11-23T12:00:00"}, {"secret": "x"}],
)  # fmt: skip
def test_a_wrong_record_is_refused_without_showing_it(change: dict[str, Any]) -> None:
    record = json.loads(made()[0].to_json())["keys"][0]
    with pytest.raises(InvalidKeyStore) as error:
        KeyStore.from_json(json.dumps({"version": 1, "keys": [{**record, **change}]}))
    assert record["sha256"] not in str(error.value)


def test_a_change_of_the_file_counts_at_once(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    store, key_id, key = made()
    change_keys(path, lambda _: store)
    assert path.stat().st_mode & 0o777 == 0o600
    file = KeyFile(path)
    assert file.find(key)
    change_keys(path, lambda kept: kept.without(key_id, NOW))
    assert file.find(key) is None


def test_a_broken_file_changes_nothing_and_a_missing_one_lets_nobody_in(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    store, _, key = made()
    change_keys(path, lambda _: store)
    file = KeyFile(path)
    path.write_text('{"version": 1, "keys": [')
    assert file.find(key)
    path.unlink()
    assert file.find(key) is None


def test_changes_keep_what_others_have_added(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    for name in ("one", "two"):
        change_keys(path, lambda s, n=name: s.with_new(n, [Scope.ADMIN], now=NOW)[0])  # type: ignore[misc]
    assert [each.name for each in read_keys(path).keys] == ["one", "two"]
    assert sorted(each.name for each in tmp_path.iterdir()) == [".keys.json.lock", "keys.json"]


@pytest.fixture
def secrets() -> Any:
    session = botocore.session.get_session()
    client = session.create_client(
        "secretsmanager", "us-east-1", aws_access_key_id="a", aws_secret_access_key="b"
    )
    with Stubber(client) as stub:
        yield client, stub


def test_keys_of_a_secret_are_read_and_changed(secrets: Any) -> None:
    client, stub = secrets
    store, key_id, key = made()
    answer = {"SecretString": store.to_json()}
    stub.add_response("get_secret_value", answer, {"SecretId": "keys"})
    assert KeySecret("keys", client, 60).find(key)
    stub.add_response("get_secret_value", answer, {"SecretId": "keys"})
    changed = {"SecretId": "keys", "SecretString": store.without(key_id, NOW).to_json()}
    stub.add_response("put_secret_value", {}, changed)
    change_secret(client, "keys", lambda kept: kept.without(key_id, NOW))
    stub.assert_no_pending_responses()


def test_a_secret_that_cannot_be_read_stops_the_start(secrets: Any) -> None:
    client, stub = secrets
    stub.add_client_error("get_secret_value", "AccessDeniedException")
    with pytest.raises(SecretUnavailable):
        KeySecret("keys", client, 60)
    stub.add_response("get_secret_value", {"SecretBinary": b"x"})
    with pytest.raises(InvalidKeyStore):
        KeySecret("keys", client, 60)


@pytest.mark.anyio
async def test_a_secret_is_read_again_and_outlives_an_outage(secrets: Any) -> None:
    client, stub = secrets
    store, key_id, key = made()
    stub.add_response("get_secret_value", {"SecretString": store.to_json()})
    stub.add_client_error("get_secret_value", "InternalServiceError")
    stub.add_response("get_secret_value", {"SecretString": store.without(key_id, NOW).to_json()})
    keys = KeySecret("keys", client, 0.01)
    task = asyncio.create_task(keys.run())
    try:
        async with asyncio.timeout(5):
            while keys.find(key):
                await asyncio.sleep(0.005)
    finally:
        task.cancel()
