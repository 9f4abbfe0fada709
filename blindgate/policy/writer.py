"""Write a KMS key policy under which only measured enclaves open data.

The shape, and why:

- Administrators manage the key and can neither open anything nor hand out grants. They *can*
  replace the policy: nobody but they stand between a changed policy and the data, so keep that
  role behind whatever your organisation has for four eyes.
- Data owners wrap (`Encrypt`, `GenerateDataKey…`), and cannot unwrap.
- The enclave's role may `Decrypt` with the PCR0, PCR1 and PCR2 of one set: one Allow statement
  a set, because several values in one condition would also accept PCR0 of one image with PCR1
  of another.
- Explicit denies say the same again. An Allow that somebody adds later, an identity policy or a
  grant cannot get past a Deny.
- The account root is not named, so no identity policy of the account reaches this key.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from blindgate.policy.actions import ADMINISTRATION, GRANTING, REPLICATING, WRAPPING
from blindgate.policy.errors import UnsafePolicyError
from blindgate.policy.principals import identify

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from blindgate.attestation import PcrSet

#: PCR0, the measurement of the whole image (KMS Developer Guide, "Condition keys for attested
#: platforms").
IMAGE_KEY = "kms:RecipientAttestation:ImageSha384"

_PRINCIPAL = re.compile(r"arn:aws[a-z-]*:iam::\d{12}:(?:role|user)/[\w+=,.@/-]+")
_SESSION = re.compile(r"arn:aws[a-z-]*:sts::\d{12}:assumed-role/")
#: ReEncrypt and DeriveSharedSecret are named so that the Deny also covers what can carry no
#: attestation at all.
_DENIED_RELEASE = ["kms:Decrypt", "kms:ReEncrypt*", "kms:DeriveSharedSecret"]


def write_policy(
    *,
    pcr_sets: Sequence[PcrSet],
    roles: Sequence[str],
    admins: Sequence[str],
    owners: Sequence[str] = (),
    encryption_context: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Write the policy as a JSON-ready value.

    Args:
        pcr_sets: Measurements of the images that may open data; two during a blue/green change.
        roles: ARNs of the roles whose credentials the enclave uses, as `arn:…:role/…`.
        admins: ARNs of the users or roles that manage the key.
        owners: ARNs of the users or roles that encrypt for the enclave.
        encryption_context: Pairs that every wrap and unwrap must name. It keeps a key that was
            wrapped for another purpose from being unwrapped by the enclave; the sample file
            format, which has no context, cannot be opened under such a policy.

    Returns:
        The policy document.

    Raises:
        UnsafePolicyError: The policy would not hold: no measurement, a debug-mode set, a
            wildcard, the account root, or an administrator who is also the enclave's role.
    """
    if not pcr_sets:
        raise UnsafePolicyError("a key policy needs the measurements of at least one image")
    for each in pcr_sets:
        if not all(any(each.values[index]) for index in (0, 1, 2)):
            raise UnsafePolicyError(
                f"PCR set {each.name}: PCR0, PCR1 or PCR2 is all zero, as in every enclave in "
                "debug mode, whose console its parent can read"
            )
    for what, arns in (("role", roles), ("admin", admins), ("data owner", owners)):
        for arn in arns:
            _check_principal(what, arn)
    if not roles or not admins:
        raise UnsafePolicyError("a key policy needs at least one role and one administrator")
    opening = {identify(each) for each in roles}
    if both := sorted(each for each in admins if identify(each) in opening):
        raise UnsafePolicyError(
            f"{both[0]} is both the enclave's role and an administrator: the parent instance "
            "could replace the policy and then open everything"
        )
    context = _context_conditions(encryption_context or {})
    statements = [_administration(admins)]
    if owners:
        statements += _wrapping(owners, context)
    names = _statement_names(pcr_sets)
    statements += [
        _release(name, each, roles, context) for name, each in zip(names, pcr_sets, strict=True)
    ]
    statements += _denials(pcr_sets, roles)
    return {"Version": "2012-10-17", "Id": "blindgate-key-policy", "Statement": statements}


def _check_principal(what: str, arn: str) -> None:
    if _SESSION.match(arn):
        raise UnsafePolicyError(
            f"{arn} is a session, which ends: name the role, arn:aws:iam::ACCOUNT:role/NAME"
        )
    if not _PRINCIPAL.fullmatch(arn):
        raise UnsafePolicyError(
            f"{what}: {arn!r} is not the ARN of an IAM role or user "
            "(arn:aws:iam::ACCOUNT:role/NAME); wildcards and the account root are not allowed"
        )


def _one_or_many(values: Sequence[str]) -> str | list[str]:
    return values[0] if len(values) == 1 else list(values)


def _context_conditions(context: Mapping[str, str]) -> dict[str, str]:
    return {f"kms:EncryptionContext:{name}": value for name, value in context.items()}


def _statement_names(pcr_sets: Sequence[PcrSet]) -> list[str]:
    names: list[str] = []
    for each in pcr_sets:
        words = re.findall(r"[A-Za-z0-9]+", each.name.removesuffix(".json"))
        stem = "EnclaveOpens" + "".join(word[0].upper() + word[1:] for word in words)
        names.append(stem if stem not in names else f"{stem}{len(names) + 1}")
    return names


def _administration(admins: Sequence[str]) -> dict[str, Any]:
    return {
        "Sid": "AdministratorsManageTheKey",
        "Effect": "Allow",
        "Principal": {"AWS": _one_or_many(admins)},
        "Action": list(ADMINISTRATION),
        "Resource": "*",
    }


def _wrapping(owners: Sequence[str], context: dict[str, str]) -> list[dict[str, Any]]:
    wrap: dict[str, Any] = {
        "Sid": "DataOwnersWrap",
        "Effect": "Allow",
        "Principal": {"AWS": _one_or_many(owners)},
        "Action": list(WRAPPING),
        "Resource": "*",
    }
    if context:
        wrap["Condition"] = {"StringEquals": context}
    describe = {
        "Sid": "DataOwnersFindTheKey",
        "Effect": "Allow",
        "Principal": {"AWS": _one_or_many(owners)},
        "Action": "kms:DescribeKey",
        "Resource": "*",
    }
    return [wrap, describe]


def _release(
    sid: str, pcr_set: PcrSet, roles: Sequence[str], context: dict[str, str]
) -> dict[str, Any]:
    # ImageSha384 and PCR0 are the same value; the documented name is used for it. IgnoreCase as in
    # AWS's guide: hexadecimal digits have no case, and which one KMS presents is not documented.
    measurements = {
        IMAGE_KEY if index == 0 else f"kms:RecipientAttestation:PCR{index}": value.hex()
        for index, value in sorted(pcr_set.values.items())
    }
    return {
        "Sid": sid,
        "Effect": "Allow",
        "Principal": {"AWS": _one_or_many(roles)},
        "Action": "kms:Decrypt",
        "Resource": "*",
        "Condition": {"StringEqualsIgnoreCase": measurements}
        | ({"StringEquals": context} if context else {}),
    }


def _denials(pcr_sets: Sequence[PcrSet], roles: Sequence[str]) -> list[dict[str, Any]]:
    images = list(dict.fromkeys(each.values[0].hex() for each in pcr_sets))

    def deny(
        sid: str, actions: list[str], condition: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        statement: dict[str, Any] = {
            "Sid": sid,
            "Effect": "Deny",
            "Principal": {"AWS": "*"},
            "Action": actions,
            "Resource": "*",
        }
        return statement | ({"Condition": condition} if condition else {})

    return [
        deny("DenyOpeningWithoutAttestation", _DENIED_RELEASE, {"Null": {IMAGE_KEY: "true"}}),
        deny(
            "DenyOpeningByOtherImages",
            _DENIED_RELEASE,
            {"StringNotEqualsIgnoreCase": {IMAGE_KEY: _one_or_many(images)}},
        ),
        deny(
            "DenyOpeningByOtherPrincipals",
            _DENIED_RELEASE,
            {"StringNotEquals": {"aws:PrincipalArn": _one_or_many(roles)}},
        ),
        deny("DenyGrantsAndReplicas", [GRANTING, REPLICATING]),
    ]
