"""Find the holes in a key policy through which data leaves without an attestation.

Every rule names an attack that works against KMS; `tests/blindgate/policy` tries each of them
against the dev KMS, under a policy with the fault and under one of `writer`'s.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from blindgate.policy import rules
from blindgate.policy.document import parse_key_policy

if TYPE_CHECKING:
    from blindgate.policy.document import PolicyDocument, Statement


class Severity(StrEnum):
    """How bad it is."""

    ERROR = "error"
    WARNING = "warning"


@dataclass(frozen=True, slots=True)
class Finding:
    """One fault of a policy.

    Attributes:
        code: Stable name of the rule, `BP1xx`.
        severity: An error opens a way to the data; a warning weakens a second line.
        place: Where in the document.
        message: What is wrong, and the attack it allows.
        fix: What to do.
    """

    code: str
    severity: Severity
    place: str
    message: str
    fix: str


def lint(text: str) -> list[Finding]:
    """Check a key policy.

    Args:
        text: The JSON of the policy.

    Returns:
        The findings in the order of the document; empty for a policy that holds.

    Raises:
        MalformedPolicyError: The text is no key policy.
    """
    policy = parse_key_policy(text)
    findings = [each for statement in policy.statements for each in _statement(statement)]
    return findings + _whole(policy)


def _statement(statement: Statement) -> list[Finding]:
    found = []
    for rule in RULES:
        if detail := rule.check(statement):
            message = f"{rule.message} ({detail})" if detail != "-" else rule.message
            found.append(Finding(rule.code, rule.severity, statement.place, message, rule.fix))
    return found


def _whole(policy: PolicyDocument) -> list[Finding]:
    found = []
    if rewriters := rules.roles_that_rewrite(policy):
        found.append(
            Finding(
                "BP112",
                Severity.ERROR,
                "Statement",
                f"{rewriters[0]} may both open data and replace the policy: whoever holds its "
                "credentials, such as the parent instance, removes the conditions first",
                "give kms:PutKeyPolicy to an administrator that no instance can assume",
            )
        )
    if not rules.denies_unattested(policy):
        found.append(
            Finding(
                "BP113",
                Severity.WARNING,
                "Statement",
                "no explicit Deny of kms:Decrypt without an attestation: the next Allow that "
                "somebody adds opens the data",
                'add a Deny for {"AWS": "*"} with Null '
                '{"kms:RecipientAttestation:ImageSha384": "true"}',
            )
        )
    return found


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule about one statement; `check` gives a detail, `-` for none, or empty if it holds."""

    code: str
    severity: Severity
    check: rules.Check
    message: str
    fix: str


#: The rules about single statements, in the order in which they are reported.
RULES = (
    Rule(
        "BP101",
        Severity.ERROR,
        rules.unattested_release,
        "opens data without an attestation: whoever holds the credentials decrypts in plain",
        "require kms:RecipientAttestation:ImageSha384 (and PCR1, PCR2) with StringEqualsIgnoreCase",
    ),
    Rule(
        "BP102",
        Severity.ERROR,
        rules.root_delegation,
        "delegates to an account: an identity policy, which the key's owner does not see, "
        "then allows it without any condition of this policy",
        "name the administrators by their own ARNs",
    ),
    Rule(
        "BP103",
        Severity.ERROR,
        rules.zero_measurement,
        "accepts a zero PCR: every enclave in debug mode has it, whatever code it runs",
        "write the policy from the measurements of a production build",
    ),
    Rule(
        "BP104",
        Severity.ERROR,
        rules.grant_permission,
        "allows kms:CreateGrant: a grant cannot carry an attestation condition, so its holder "
        "decrypts in plain",
        "leave kms:CreateGrant out, and deny it",
    ),
    Rule(
        "BP105",
        Severity.ERROR,
        rules.wildcard_principal,
        "does not say to whom it applies: a wildcard or NotPrincipal also names strangers",
        "list the ARNs of the roles and users",
    ),
    Rule(
        "BP106",
        Severity.ERROR,
        rules.image_not_pinned,
        "checks an attestation, but not the image: anything that was signed with the same "
        "certificate, or runs on the same instance, passes",
        "require kms:RecipientAttestation:ImageSha384",
    ),
    Rule(
        "BP107",
        Severity.ERROR,
        rules.replica_permission,
        "allows kms:ReplicateKey: a replica has the same key material and a policy of its own",
        "leave kms:ReplicateKey out, and deny it",
    ),
    Rule(
        "BP108",
        Severity.ERROR,
        rules.toothless_condition,
        "has an attestation condition that is also true when there is no attestation",
        "use StringEqualsIgnoreCase or StringEquals, without IfExists or ForAllValues",
    ),
    Rule(
        "BP109",
        Severity.WARNING,
        rules.mixed_images,
        "lists several values for more than one PCR: they also match in combinations that no "
        "image has",
        "write one statement for each image",
    ),
    Rule(
        "BP110",
        Severity.ERROR,
        rules.wrong_measurement,
        "compares with something that is no measurement, so it never holds",
        "a PCR is 96 lower-case hexadecimal digits",
    ),
    Rule(
        "BP111",
        Severity.ERROR,
        rules.wildcard_measurement,
        "accepts measurements by pattern: any image that matches opens the data",
        "use StringEqualsIgnoreCase with the whole value",
    ),
    Rule(
        "BP114",
        Severity.WARNING,
        rules.partial_measurement,
        "pins PCR0 and not PCR1 and PCR2: the three together leave nothing to a single value",
        "also require kms:RecipientAttestation:PCR1 and PCR2",
    ),
    Rule(
        "BP115",
        Severity.ERROR,
        rules.federated_user,
        "names a federated user: any user of that account who may call sts:GetFederationToken "
        "chooses this name",
        "name a role or a user",
    ),
    Rule(
        "BP116",
        Severity.ERROR,
        rules.unreadable_principal,
        "names a principal that is not the ARN of a role, a user or a session, so nobody can see "
        "who it is, for example the unique id that is left of a deleted role",
        "name the ARN of a role or a user",
    ),
)
