"""Read and replace key policies, refusing what KMS refuses and what is not evaluated here."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from blindgate.policy.document import MAX_KEY_POLICY_BYTES, parse_key_policy
from blindgate.policy.errors import MalformedPolicyError
from devstack.kms import errors, inputs
from devstack.kms.conditions import EVALUATED
from devstack.kms.evaluator import Request, decide

if TYPE_CHECKING:
    from blindgate.policy.document import PolicyDocument, Statement
    from devstack.kms.conditions import Context
    from devstack.kms.principals import Principal
    from devstack.kms.service import Service
    from devstack.kms.store import Key

_ALL_OF_IAM = '{"Statement": {"Effect": "Allow", "Action": "*", "Resource": "*"}}'
_NAMES = "[\\w]+"
_ACCOUNT = re.compile(r"(?:arn:aws[a-z-]*:iam::)?(\d{12})(?::root)?")
_SESSION = re.compile(r"(arn:aws[a-z-]*):sts::(\d{12}):assumed-role/([^/]+)/[^/]+")


def get_key_policy(service: Service, caller: Principal, body: inputs.Body) -> dict[str, Any]:
    """GetKeyPolicy: the text as it was put."""
    key = service.find(inputs.text(body, "KeyId"), aliases=False)
    _policy_name(body, key)
    service.authorize(caller, "GetKeyPolicy", key)
    return {"Policy": key.policy, "PolicyName": "default"}


def put_key_policy(service: Service, caller: Principal, body: inputs.Body) -> None:
    """PutKeyPolicy."""
    key = service.find(inputs.text(body, "KeyId"), aliases=False)
    _policy_name(body, key)
    policy = inputs.text(body, "Policy", longest=131072)
    bypass = inputs.boolean(body, "BypassPolicyLockoutSafetyCheck")
    extra: Context = {"kms:bypasspolicylockoutsafetycheck": ("true" if bypass else "false",)}
    service.authorize(caller, "PutKeyPolicy", key, extra=extra)
    service.require_kept(key)
    check_policy(service, caller, key, policy, bypass=bypass)
    service.store.commit(lambda s: s.with_key(replace(s.keys[key.key_id], policy=policy)))


def check_policy(
    service: Service, caller: Principal, key: Key, text: str, *, bypass: bool
) -> PolicyDocument:
    """Check a policy before it becomes a key's.

    Args:
        service: The service.
        caller: Who puts it.
        key: The key that gets it.
        text: The policy.
        bypass: Whether the caller may lock itself out.

    Raises:
        KmsError: MalformedPolicyDocumentException, LimitExceededException, or
            UnsupportedOperationException for what AWS evaluates and this service does not.
    """
    if len(text.encode()) > MAX_KEY_POLICY_BYTES:
        raise errors.KmsError("LimitExceededException", "The key policy is larger than 32 KiB.")
    try:
        policy = parse_key_policy(text)
    except MalformedPolicyError as error:
        raise errors.malformed_policy(str(error)) from None
    known = service.principals.arns()
    for statement in policy.statements:
        _check_principals(statement, service.account, known)
        _refuse_what_is_not_evaluated(statement)
    if not bypass and not _lets_return(caller, key, policy):
        raise errors.malformed_policy(
            "The new key policy will not allow you to update the key policy in the future."
        )
    return policy


def _lets_return(caller: Principal, key: Key, policy: PolicyDocument) -> bool:
    """Tell whether the caller could put a policy again, given every permission in IAM.

    KMS Developer Guide, "Default key policy": the check looks at the key policy; one that
    delegates to the account passes.
    """
    almighty = replace(caller, identity_policy=_ALL_OF_IAM)
    return decide(Request(almighty, "kms:PutKeyPolicy", key.arn, {}, {}), policy).allowed


def _policy_name(body: inputs.Body, key: Key) -> None:
    name = inputs.text(body, "PolicyName", default="default", longest=128, pattern=_NAMES)
    if name != "default":
        raise errors.not_found(f"No such policy exists: {name} on {key.arn}")


def _check_principals(statement: Statement, account: str, known: frozenset[str]) -> None:
    principals = statement.principals
    for name in principals.aws if principals else ():
        if not _is_valid(name, account, known):
            raise errors.malformed_policy(
                "Policy contains a statement with one or more invalid principals."
            )


def _is_valid(name: str, account: str, known: frozenset[str]) -> bool:
    if name == "*" or name in known:
        return True
    if found := _ACCOUNT.fullmatch(name):
        return found[1] == account
    if found := _SESSION.fullmatch(name):
        return f"{found[1]}:iam::{found[2]}:role/{found[3]}" in known
    return False


def _refuse_what_is_not_evaluated(statement: Statement) -> None:
    if statement.principals and statement.principals.negated:
        raise errors.unsupported(f"{statement.place}: the dev KMS does not evaluate NotPrincipal.")
    for condition in statement.conditions:
        if condition.operator not in EVALUATED:
            raise errors.unsupported(
                f"{statement.place}: the dev KMS does not evaluate {condition.operator}."
            )
        if any("${" in value for value in condition.values):
            raise errors.unsupported(
                f"{statement.place}: the dev KMS does not evaluate policy variables."
            )
