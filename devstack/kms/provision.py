"""Bring a key to the state that a stack needs, with nothing but KMS's own API."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

if TYPE_CHECKING:
    from collections.abc import Mapping


def ensure_key(client: Any, alias: str, policy: Mapping[str, Any]) -> str:
    """Make a key with an alias, or give the one that has it a new policy.

    Args:
        client: A boto3 KMS client with the credentials of an administrator.
        alias: For example `alias/blindgate-dev`.
        policy: The key policy; it must let the administrator come back.

    Returns:
        The key's ARN.
    """
    text = json.dumps(policy)
    try:
        arn = str(client.describe_key(KeyId=alias)["KeyMetadata"]["Arn"])
    except ClientError as error:
        if error.response["Error"]["Code"] != "NotFoundException":
            raise
        arn = str(client.create_key(Policy=text, Description=alias)["KeyMetadata"]["Arn"])
        client.create_alias(AliasName=alias, TargetKeyId=arn)
    else:
        client.put_key_policy(KeyId=arn, Policy=text)
    return arn
