"""A key's life, its aliases, and what survives a restart."""

from __future__ import annotations

import json
import stat
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from botocore.exceptions import ClientError

from devstack.kms.store import Key, Store, StoreError
from tests.kms_fixtures import ACCOUNT, ADMIN, CLIENT, running_kms

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from devstack.kms.tls import Certificates
    from devstack.nsm import DevRoot
    from tests.kms_fixtures import RunningKms

EVERYTHING = {
    "Statement": [
        {"Effect": "Allow", "Principal": {"AWS": ADMIN}, "Action": "kms:*", "Resource": "*"}
    ]
}


@pytest.fixture
def admin(kms: RunningKms) -> Any:
    return kms.client("admin")


@pytest.fixture
def key(kms: RunningKms) -> str:
    return kms.create_key(EVERYTHING)


def test_a_new_key_is_described_as_kms_does(kms: RunningKms, admin: Any) -> None:
    made = admin.create_key(Description="photos", Policy=json.dumps(EVERYTHING))["KeyMetadata"]
    described = admin.describe_key(KeyId=made["KeyId"])["KeyMetadata"]
    assert described == made
    assert described["Arn"] == f"arn:aws:kms:{kms.region}:{ACCOUNT}:key/{made['KeyId']}"
    assert described["AWSAccountId"] == ACCOUNT
    assert (described["KeyState"], described["Enabled"]) == ("Enabled", True)
    assert described["KeySpec"] == "SYMMETRIC_DEFAULT"
    assert described["Description"] == "photos"
    assert abs(described["CreationDate"] - datetime.now(UTC)) < timedelta(minutes=1)


def test_a_key_has_four_names(admin: Any, key: str) -> None:
    admin.create_alias(AliasName="alias/four", TargetKeyId=key)
    prefix = key.rsplit(":", 1)[0]
    for name in (key, key.rsplit("/", 1)[1], "alias/four", f"{prefix}:alias/four"):
        assert admin.describe_key(KeyId=name)["KeyMetadata"]["Arn"] == key


def test_an_alias_is_given_once(admin: Any, key: str) -> None:
    admin.create_alias(AliasName="alias/once", TargetKeyId=key)
    with pytest.raises(ClientError, match=r"AlreadyExistsException.*alias/once already exists"):
        admin.create_alias(AliasName="alias/once", TargetKeyId=key)


def test_aliases_are_listed_in_pages(admin: Any, key: str) -> None:
    names = [f"alias/page-{i}" for i in range(5)]
    for name in names:
        admin.create_alias(AliasName=name, TargetKeyId=key)
    pages = admin.get_paginator("list_aliases").paginate(
        KeyId=key, PaginationConfig={"PageSize": 2}
    )
    found = [alias for page in pages for alias in page["Aliases"]]
    assert [alias["AliasName"] for alias in found] == names
    assert {alias["TargetKeyId"] for alias in found} == {key.rsplit("/", 1)[1]}


def test_aliases_need_permission_on_the_key_too(kms: RunningKms, admin: Any) -> None:
    locked = kms.create_key(
        {"Statement": {**EVERYTHING["Statement"][0], "Principal": {"AWS": CLIENT}}}
    )
    with pytest.raises(ClientError, match="AccessDeniedException"):
        admin.create_alias(AliasName="alias/locked", TargetKeyId=locked)


def test_a_disabled_key_does_nothing_until_it_is_enabled(admin: Any, key: str) -> None:
    blob = admin.encrypt(KeyId=key, Plaintext=b"x")["CiphertextBlob"]
    admin.disable_key(KeyId=key)
    assert admin.describe_key(KeyId=key)["KeyMetadata"]["KeyState"] == "Disabled"
    attempts: list[Callable[[], Any]] = [
        lambda: admin.decrypt(CiphertextBlob=blob),
        lambda: admin.encrypt(KeyId=key, Plaintext=b"x"),
        lambda: admin.generate_data_key(KeyId=key, KeySpec="AES_256"),
    ]
    for attempt in attempts:
        with pytest.raises(ClientError, match=f"DisabledException.*{key} is disabled"):
            attempt()
    admin.enable_key(KeyId=key)
    assert admin.decrypt(CiphertextBlob=blob)["Plaintext"] == b"x"


def test_a_key_that_is_going_can_be_kept(admin: Any, key: str) -> None:
    answer = admin.schedule_key_deletion(KeyId=key, PendingWindowInDays=7)
    assert answer["KeyState"] == "PendingDeletion"
    assert answer["PendingWindowInDays"] == 7
    described = admin.describe_key(KeyId=key)["KeyMetadata"]
    assert described["DeletionDate"] == answer["DeletionDate"]
    attempts: list[Callable[[], Any]] = [
        lambda: admin.encrypt(KeyId=key, Plaintext=b"x"),
        lambda: admin.enable_key(KeyId=key),
        lambda: admin.schedule_key_deletion(KeyId=key),
        lambda: admin.create_alias(AliasName="alias/gone", TargetKeyId=key),
    ]
    for attempt in attempts:
        with pytest.raises(ClientError, match=r"KMSInvalidStateException.* pending deletion"):
            attempt()
    admin.cancel_key_deletion(KeyId=key)
    assert admin.describe_key(KeyId=key)["KeyMetadata"]["KeyState"] == "Disabled"


@pytest.mark.parametrize("days", [6, 31])
def test_a_key_waits_seven_to_thirty_days(admin: Any, key: str, days: int) -> None:
    with pytest.raises(ClientError, match="pendingWindowInDays"):
        admin.schedule_key_deletion(KeyId=key, PendingWindowInDays=days)


def test_a_key_disappears_with_its_aliases(
    tmp_path: Path, kms_certificates: Certificates, dev_root: DevRoot
) -> None:
    times = {"now": datetime.now(UTC)}
    with running_kms(tmp_path, kms_certificates, dev_root.root, clock=lambda: times["now"]) as kms:
        admin = kms.client("admin")
        key = kms.create_key(EVERYTHING)
        admin.create_alias(AliasName="alias/short", TargetKeyId=key)
        admin.schedule_key_deletion(KeyId=key, PendingWindowInDays=7)
    times["now"] += timedelta(days=7, minutes=1)
    with Store(tmp_path / "state.json") as store:
        assert not store.state.without_expired(times["now"]).keys
        assert not store.state.without_expired(times["now"]).aliases


def test_a_restart_loses_nothing(
    tmp_path: Path, kms_certificates: Certificates, dev_root: DevRoot
) -> None:
    with running_kms(tmp_path, kms_certificates, dev_root.root) as kms:
        key = kms.create_key(EVERYTHING)
        admin = kms.client("admin")
        admin.create_alias(AliasName="alias/kept", TargetKeyId=key)
        grant = admin.create_grant(KeyId=key, GranteePrincipal=CLIENT, Operations=["Decrypt"])
        blob = admin.encrypt(KeyId=key, Plaintext=b"kept")["CiphertextBlob"]
        people = kms.principals
    with running_kms(tmp_path, kms_certificates, dev_root.root, principals=people) as kms:
        assert kms.client("admin").describe_key(KeyId="alias/kept")["KeyMetadata"]["Arn"] == key
        assert kms.client("client").decrypt(CiphertextBlob=blob)["Plaintext"] == b"kept"
        kms.client("admin").revoke_grant(KeyId=key, GrantId=grant["GrantId"])
        with pytest.raises(ClientError, match="AccessDeniedException"):
            kms.client("client").decrypt(CiphertextBlob=blob)


def test_the_state_is_for_its_owner_only(
    tmp_path: Path, kms_certificates: Certificates, dev_root: DevRoot
) -> None:
    with running_kms(tmp_path, kms_certificates, dev_root.root) as kms:
        kms.create_key(EVERYTHING)
    assert stat.S_IMODE((tmp_path / "state.json").stat().st_mode) == 0o600
    assert sorted(path.name for path in tmp_path.iterdir()) == ["state.json", "state.json.lock"]


def test_two_services_never_share_a_state(tmp_path: Path) -> None:
    with Store(tmp_path / "state.json"), pytest.raises(StoreError, match="in use"):
        Store(tmp_path / "state.json")


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"version": 2}', '{"version": 1}'])
def test_another_file_is_no_state(tmp_path: Path, content: str) -> None:
    path = tmp_path / "state.json"
    path.write_text(content)
    with pytest.raises(StoreError, match="no state file"):
        Store(path)
    assert path.read_text() == content


def test_a_change_that_fails_changes_nothing(tmp_path: Path) -> None:
    with Store(tmp_path / "state.json") as store:
        before = store.state
        with pytest.raises(RuntimeError):
            store.commit(lambda _: (_ for _ in ()).throw(RuntimeError))
        assert store.state is before
        assert not store.path.exists()


def test_key_material_is_in_no_repr() -> None:
    key = Key("id", "arn", b"material", "{}", datetime.now(UTC))
    assert "material" not in repr(key)
