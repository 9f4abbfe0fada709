"""The operations of KMS that the dev KMS has, by name; and those it refuses by name.

Each is a function of the service, the caller and the JSON of the request, and gives the JSON of
the answer. None of them knows about HTTP.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from devstack.kms.operations import aliases, cryptography, grants, keys, policies

if TYPE_CHECKING:
    from devstack.kms.principals import Principal
    from devstack.kms.service import Service

Operation = Callable[["Service", "Principal", dict[str, Any]], dict[str, Any] | None]

OPERATIONS: dict[str, Operation] = {
    "CancelKeyDeletion": keys.cancel_key_deletion,
    "CreateAlias": aliases.create_alias,
    "CreateGrant": grants.create_grant,
    "CreateKey": keys.create_key,
    "Decrypt": cryptography.decrypt,
    "DescribeKey": keys.describe_key,
    "DisableKey": keys.disable_key,
    "EnableKey": keys.enable_key,
    "Encrypt": cryptography.encrypt,
    "GenerateDataKey": cryptography.generate_data_key,
    "GenerateDataKeyWithoutPlaintext": cryptography.generate_data_key_without_plaintext,
    "GenerateRandom": cryptography.generate_random,
    "GetKeyPolicy": policies.get_key_policy,
    "ListAliases": aliases.list_aliases,
    "PutKeyPolicy": policies.put_key_policy,
    "RevokeGrant": grants.revoke_grant,
    "ScheduleKeyDeletion": keys.schedule_key_deletion,
}

#: Operations that KMS has and this one has not, with the reason: a clear refusal instead of
#: UnknownOperationException.
REFUSED = {
    "ReEncrypt": "a re-encrypted data key would leave the key policy that guards it",
    "ReplicateKey": "there is one region, and a replica would have a policy of its own",
}
