"""KMS actions, grouped by what they could do to a wrapped data key.

AWS, Service Authorization Reference, "Actions, resources, and condition keys for AWS Key
Management Service". Action names are matched without regard to case.
"""

from __future__ import annotations

from blindgate.policy.wildcards import matches

#: Turn something wrapped under this key into plaintext, or re-wrap it for a key with another
#: policy. Only `Decrypt` and `DeriveSharedSecret` can carry an attestation document; `ReEncrypt`
#: cannot, and the key it wraps for may be anybody's. `GenerateDataKey` is not here: it gives out
#: a *new* key, never one that a data owner has wrapped.
RELEASING = ("kms:Decrypt", "kms:ReEncryptFrom", "kms:DeriveSharedSecret")

#: Hands permissions to somebody else without the conditions of the policy: a grant's only
#: constraints are encryption contexts, never an attestation.
GRANTING = "kms:CreateGrant"

#: Makes a copy of a multi-Region key with the same material under *another* key policy.
REPLICATING = "kms:ReplicateKey"

#: Replaces the policy itself.
REWRITING = "kms:PutKeyPolicy"

#: What an administrator needs, and nothing that opens data or hands out permissions.
ADMINISTRATION = (
    "kms:CancelKeyDeletion",
    "kms:CreateAlias",
    "kms:DeleteAlias",
    "kms:DescribeKey",
    "kms:DisableKey",
    "kms:DisableKeyRotation",
    "kms:EnableKey",
    "kms:EnableKeyRotation",
    "kms:GetKeyPolicy",
    "kms:GetKeyRotationStatus",
    "kms:ListGrants",
    "kms:ListKeyPolicies",
    "kms:ListKeyRotations",
    "kms:ListResourceTags",
    "kms:PutKeyPolicy",
    "kms:RevokeGrant",
    "kms:RotateKeyOnDemand",
    "kms:ScheduleKeyDeletion",
    "kms:TagResource",
    "kms:UntagResource",
    "kms:UpdateAlias",
    "kms:UpdateKeyDescription",
)

#: What a data owner needs to make an envelope.
WRAPPING = ("kms:Encrypt", "kms:GenerateDataKey", "kms:GenerateDataKeyWithoutPlaintext")


def covers(patterns: tuple[str, ...], action: str) -> bool:
    """Tell whether any of the patterns of an `Action` element names this action."""
    return any(matches(pattern.lower(), action.lower()) for pattern in patterns)
