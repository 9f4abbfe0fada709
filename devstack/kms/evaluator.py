"""Who may do what with a key: IAM's evaluation, for one account.

AWS, KMS Developer Guide, "Key policies in AWS KMS" and "Determining access to AWS KMS keys";
IAM User Guide, "Policy evaluation logic". In order:

1. an explicit Deny, in the key policy or in the caller's identity policy, decides;
2. an Allow of the key policy that names the caller (or everybody) allows;
3. an Allow of the key policy that names the **account** hands the decision to identity policies;
4. a grant allows;
5. everything else is refused.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from blindgate.policy.actions import covers
from blindgate.policy.wildcards import matches
from devstack.kms.conditions import Context, hold

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from blindgate.policy.document import PolicyDocument, Statement
    from devstack.kms.principals import Principal
    from devstack.kms.store import Grant, Key

_ACCOUNT = re.compile(r"(?:arn:aws[a-z-]*:iam::)?(\d{12})(?::root)?")

_RESOURCE_DENY = "with an explicit deny in a resource-based policy"
_IDENTITY_DENY = "with an explicit deny in an identity-based policy"


@dataclass(frozen=True, slots=True)
class Decision:
    """What was decided.

    Attributes:
        allowed: Whether the request goes ahead.
        reason: For a refusal, the end of IAM's sentence.
    """

    allowed: bool
    reason: str = ""


_ALLOWED = Decision(allowed=True)


@dataclass(frozen=True, slots=True)
class Request:
    """One question to the evaluator.

    Attributes:
        caller: Who asks.
        action: For example `kms:Decrypt`.
        resource: ARN of the key or alias, or `*`.
        context: Condition keys of the request, without those of the caller.
        encryption_context: The pairs of the request, for the constraints of grants.
    """

    caller: Principal
    action: str
    resource: str
    context: Context
    encryption_context: Mapping[str, str]


def decide_on_key(request: Request, key: Key) -> Decision:
    """Decide a request for a key."""
    return decide(request, key.document, key.grants)


def decide(request: Request, policy: PolicyDocument, grants: Sequence[Grant] = ()) -> Decision:
    """Decide a request under a key policy and grants."""
    context = _full_context(request)
    applying = [each for each in policy.statements if _applies(each, request, context)]
    identity = _identity(request, context)
    if any(not each.allow and _names(each, request.caller) for each in applying):
        return Decision(allowed=False, reason=_RESOURCE_DENY)
    if any(not each.allow for each in identity):
        return Decision(allowed=False, reason=_IDENTITY_DENY)
    allows = [each for each in applying if each.allow]
    if any(_names_directly(each, request.caller) for each in allows):
        return _ALLOWED
    delegated = any(_names_account(each, request.caller) for each in allows)
    if delegated and any(each.allow for each in identity):
        return _ALLOWED
    if any(_granted(each, request) for each in grants):
        return _ALLOWED
    return _nothing_allows("identity" if delegated else "resource", request.action)


def decide_without_key(request: Request) -> Decision:
    """Decide a request for which only identity policies count (`CreateKey`, `ListAliases`…)."""
    identity = _identity(request, _full_context(request))
    if any(not each.allow for each in identity):
        return Decision(allowed=False, reason=_IDENTITY_DENY)
    if _ACCOUNT.fullmatch(request.caller.arn) or any(each.allow for each in identity):
        return _ALLOWED
    return _nothing_allows("identity", request.action)


def _nothing_allows(kind: str, action: str) -> Decision:
    return Decision(
        allowed=False, reason=f"because no {kind}-based policy allows the {action} action"
    )


def _full_context(request: Request) -> Context:
    return {
        **request.context,
        "aws:principalarn": (request.caller.principal_arn,),
        "aws:principalaccount": (request.caller.account,),
        "kms:calleraccount": (request.caller.account,),
        "aws:securetransport": ("true",),
    }


def _identity(request: Request, context: Context) -> list[Statement]:
    policy = request.caller.permissions
    return [s for s in policy.statements if _applies(s, request, context)] if policy else []


def _applies(statement: Statement, request: Request, context: Context) -> bool:
    action = covers(statement.actions, request.action) != statement.negated_actions
    resource = any(matches(each, request.resource) for each in statement.resources)
    return (
        action and resource != statement.negated_resources and hold(statement.conditions, context)
    )


def _names(statement: Statement, caller: Principal) -> bool:
    return _names_directly(statement, caller) or _names_account(statement, caller)


def _names_directly(statement: Statement, caller: Principal) -> bool:
    named = statement.principals.aws if statement.principals else ()
    if "*" in named or caller.arn in named or caller.principal_arn in named:
        return True
    return bool(_ACCOUNT.fullmatch(caller.arn)) and _names_account(statement, caller)


def _names_account(statement: Statement, caller: Principal) -> bool:
    for name in statement.principals.aws if statement.principals else ():
        if (found := _ACCOUNT.fullmatch(name)) and found[1] == caller.account:
            return True
    return False


def _granted(grant: Grant, request: Request) -> bool:
    if grant.grantee not in (request.caller.arn, request.caller.principal_arn):
        return False
    if request.action.removeprefix("kms:") not in grant.operations:
        return False
    pairs = dict(request.encryption_context)
    if grant.context_equals is not None and pairs != dict(grant.context_equals):
        return False
    return grant.context_subset is None or grant.context_subset.items() <= pairs.items()
