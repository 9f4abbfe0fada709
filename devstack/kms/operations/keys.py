"""Make keys, describe them, switch them off and let them go."""

from __future__ import annotations

import hashlib
import json
import secrets
import uuid
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from devstack.kms import errors, inputs
from devstack.kms.operations.policies import check_policy
from devstack.kms.store import Key

if TYPE_CHECKING:
    from devstack.kms.principals import Principal
    from devstack.kms.service import Service
    from devstack.kms.store import State

#: Far below AWS's quota of 100,000, and plenty for one machine.
MAX_KEYS = 1000


def create_key(service: Service, caller: Principal, body: inputs.Body) -> dict[str, Any]:
    """CreateKey, symmetric encryption keys only."""
    spec = inputs.text(body, "KeySpec", default="SYMMETRIC_DEFAULT")
    spec = inputs.text(body, "CustomerMasterKeySpec", default=spec)
    usage = inputs.text(body, "KeyUsage", default="ENCRYPT_DECRYPT")
    origin = inputs.text(body, "Origin", default="AWS_KMS")
    if (spec, usage, origin) != ("SYMMETRIC_DEFAULT", "ENCRYPT_DECRYPT", "AWS_KMS"):
        raise errors.unsupported("The dev KMS has symmetric encryption keys of its own only.")
    if inputs.boolean(body, "MultiRegion"):
        raise errors.unsupported("The dev KMS has one region: no multi-Region keys.")
    service.authorize_without_key(caller, "CreateKey")
    default = json.dumps(_default_policy(service.account))
    policy = inputs.text(body, "Policy", default=default, longest=131072)
    key_id = str(uuid.uuid4())
    key = Key(
        key_id=key_id,
        arn=service.arn(f"key/{key_id}"),
        material=secrets.token_bytes(32),
        policy=policy,
        created=service.now(),
        description=inputs.text(body, "Description", default="", shortest=0, longest=8192),
    )
    bypass = inputs.boolean(body, "BypassPolicyLockoutSafetyCheck")
    check_policy(service, caller, key, policy, bypass=bypass)

    def add(state: State) -> State:
        if len(state.keys) >= MAX_KEYS:
            raise errors.KmsError("LimitExceededException", f"The dev KMS holds {MAX_KEYS} keys.")
        return state.with_key(key)

    service.store.commit(add)
    return {"KeyMetadata": metadata(service, key)}


def describe_key(service: Service, caller: Principal, body: inputs.Body) -> dict[str, Any]:
    """DescribeKey."""
    named = inputs.text(body, "KeyId")
    key = service.find(named)
    service.authorize(caller, "DescribeKey", key, named=named)
    return {"KeyMetadata": metadata(service, key)}


def enable_key(service: Service, caller: Principal, body: inputs.Body) -> None:
    """EnableKey."""
    _switch(service, caller, body, "EnableKey", on=True)


def disable_key(service: Service, caller: Principal, body: inputs.Body) -> None:
    """DisableKey."""
    _switch(service, caller, body, "DisableKey", on=False)


def schedule_key_deletion(service: Service, caller: Principal, body: inputs.Body) -> dict[str, Any]:
    """ScheduleKeyDeletion: 7 to 30 days, 30 by default."""
    key = service.find(inputs.text(body, "KeyId"), aliases=False)
    days = inputs.integer(body, "PendingWindowInDays", least=7, most=30) or 30
    service.authorize(caller, "ScheduleKeyDeletion", key)
    service.require_kept(key)
    deletion = service.now() + timedelta(days=days)
    _change(service, key, enabled=False, deletion=deletion)
    return {
        "KeyId": key.arn,
        "DeletionDate": deletion.timestamp(),
        "KeyState": "PendingDeletion",
        "PendingWindowInDays": days,
    }


def cancel_key_deletion(service: Service, caller: Principal, body: inputs.Body) -> dict[str, Any]:
    """CancelKeyDeletion: the key stays, disabled."""
    key = service.find(inputs.text(body, "KeyId"), aliases=False)
    service.authorize(caller, "CancelKeyDeletion", key)
    if key.deletion is None:
        raise errors.KmsError("KMSInvalidStateException", f"{key.arn} is not pending deletion.")
    _change(service, key, deletion=None)
    return {"KeyId": key.arn}


def metadata(service: Service, key: Key) -> dict[str, Any]:
    """Describe a key as KMS's `KeyMetadata` does."""
    made: dict[str, Any] = {
        "AWSAccountId": service.account,
        "KeyId": key.key_id,
        "Arn": key.arn,
        "CreationDate": key.created.timestamp(),
        "Enabled": key.state == "Enabled",
        "Description": key.description,
        "KeyUsage": "ENCRYPT_DECRYPT",
        "KeyState": key.state,
        "Origin": "AWS_KMS",
        "KeyManager": "CUSTOMER",
        "CustomerMasterKeySpec": "SYMMETRIC_DEFAULT",
        "KeySpec": "SYMMETRIC_DEFAULT",
        "EncryptionAlgorithms": ["SYMMETRIC_DEFAULT"],
        "MultiRegion": False,
        "CurrentKeyMaterialId": material_id(key),
    }
    if key.deletion is not None:
        made["DeletionDate"] = key.deletion.timestamp()
    return made


def material_id(key: Key) -> str:
    """Name the key material; rotation, which would change it, does not exist here."""
    return hashlib.sha256(f"material of {key.arn}".encode()).hexdigest()


def _switch(
    service: Service, caller: Principal, body: inputs.Body, operation: str, *, on: bool
) -> None:
    key = service.find(inputs.text(body, "KeyId"), aliases=False)
    service.authorize(caller, operation, key)
    service.require_kept(key)
    _change(service, key, enabled=on)


def _change(service: Service, key: Key, **changes: Any) -> None:
    # The key is looked up again under the lock: somebody else may have changed another field.
    service.store.commit(lambda s: s.with_key(replace(s.keys[key.key_id], **changes)))


def _default_policy(account: str) -> dict[str, Any]:
    """What KMS gives a key that is made without a policy; `blindgate policy lint` finds it."""
    return {
        "Version": "2012-10-17",
        "Id": "key-default-1",
        "Statement": [
            {
                "Sid": "Enable IAM User Permissions",
                "Effect": "Allow",
                "Principal": {"AWS": f"arn:aws:iam::{account}:root"},
                "Action": "kms:*",
                "Resource": "*",
            }
        ],
    }
