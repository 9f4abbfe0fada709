"""Grants, as far as an attack with them needs: they carry no attestation condition.

KMS Developer Guide, "Grants in AWS KMS". Here so that a test can show what `kms:CreateGrant`
gives away; there is no listing, no retiring, and no eventual consistency.
"""

from __future__ import annotations

import secrets
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from devstack.kms import errors, inputs
from devstack.kms.store import Grant

if TYPE_CHECKING:
    from devstack.kms.principals import Principal
    from devstack.kms.service import Service
    from devstack.kms.store import State

#: The operations of a grant on a symmetric encryption key that the dev KMS has.
_GRANTABLE = (
    "CreateGrant",
    "Decrypt",
    "DescribeKey",
    "Encrypt",
    "GenerateDataKey",
    "GenerateDataKeyWithoutPlaintext",
)


def create_grant(service: Service, caller: Principal, body: inputs.Body) -> dict[str, Any]:
    """CreateGrant."""
    key = service.find(inputs.text(body, "KeyId"), aliases=False)
    grantee = inputs.text(body, "GranteePrincipal", longest=256)
    operations = body.get("Operations")
    if not isinstance(operations, list) or not operations:
        raise errors.constraint("operations", "Value null", "not be null")
    if any(each not in _GRANTABLE for each in operations):
        raise errors.unsupported(f"The dev KMS grants {', '.join(_GRANTABLE)} only.")
    if grantee not in service.principals.arns():
        raise errors.KmsError("InvalidArnException", f"{grantee[:128]} is not a valid principal")
    constraints = inputs.structure(body, "Constraints") or {}
    service.authorize(caller, "CreateGrant", key)
    service.require_kept(key)
    grant = Grant(
        grant_id=secrets.token_hex(32),
        grantee=grantee,
        operations=tuple(operations),
        context_equals=inputs.pairs(constraints, "EncryptionContextEquals") or None,
        context_subset=inputs.pairs(constraints, "EncryptionContextSubset") or None,
    )

    def add(state: State) -> State:
        fresh = state.keys[key.key_id]
        return state.with_key(replace(fresh, grants=(*fresh.grants, grant)))

    service.store.commit(add)
    return {"GrantId": grant.grant_id, "GrantToken": secrets.token_urlsafe(32)}


def revoke_grant(service: Service, caller: Principal, body: inputs.Body) -> None:
    """RevokeGrant."""
    key = service.find(inputs.text(body, "KeyId"), aliases=False)
    grant_id = inputs.text(body, "GrantId", longest=128)
    service.authorize(caller, "RevokeGrant", key)

    def remove(state: State) -> State:
        fresh = state.keys[key.key_id]
        kept = tuple(each for each in fresh.grants if each.grant_id != grant_id)
        if len(kept) == len(fresh.grants):
            raise errors.not_found(f"Grant {grant_id[:64]} does not exist")
        return state.with_key(replace(fresh, grants=kept))

    service.store.commit(remove)
