"""Does the key policy let what runs here decrypt?

KMS's own decision depends on more than the policy; this compares the attestation conditions, and
lints the rest (`blindgate policy lint`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from blindgate.policy import rules
from blindgate.policy.actions import covers
from blindgate.policy.document import Condition, Statement, parse_key_policy
from blindgate.policy.errors import MalformedPolicyError
from blindgate.policy.lint import Severity, lint
from gateway.doctor.checks import nitro
from gateway.doctor.host import Host, PolicyHidden, PolicyUnreadable
from gateway.doctor.result import Outcome, Result, failed, ok, skipped, unknown
from gateway.doctor.setup import Setup

_PREFIX: Final = "kms:recipientattestation:"
_EQUAL: Final = ("StringEquals", "StringEqualsIgnoreCase")
_UNEQUAL: Final = ("StringNotEquals", "StringNotEqualsIgnoreCase")
_DECRYPT: Final = "kms:Decrypt"


def admits_what_runs(host: Host, setup: Setup) -> Result:
    """Each key's policy lists the measurements of each running enclave, and has no hole."""
    if not setup.key_arns and setup.key_policy is None:
        return skipped("no KMS key is known here", "give --key ARN")
    try:
        measured = {each.name: each.pcrs for each in nitro.running(host) if each.pcrs}
    except nitro.NoAnswer as error:
        return skipped(str(error), "see enclaves")
    if not measured:
        return skipped("no enclave runs whose measurements could be compared", "see enclaves")
    if setup.key_policy is not None:
        return examine(setup.key_policy, "the given policy", measured)
    results = []
    for arn in setup.key_arns:
        results.append(_of_key(host, setup, arn, measured))
        if results[-1].outcome is not Outcome.OK:
            break  # what KMS refuses or cannot be reached for is the same for the next key
    if results[-1].outcome is Outcome.OK and len(results) > 1:
        return ok(f"the policies of {len(results)} keys admit what runs")
    return results[-1]


def _of_key(
    host: Host, setup: Setup, arn: str, measured: Mapping[str, Mapping[int, str]]
) -> Result:
    region = arn.split(":")[3] if arn.count(":") >= 5 else setup.region or ""
    short = arn.rpartition("/")[2]
    try:
        text = host.key_policy(arn, region)
    except PolicyHidden:
        return unknown(
            f"this role may not read the policy of key {short}, and need not",
            f"as an administrator: aws kms get-key-policy --key-id {arn} --policy-name default "
            "--query Policy --output text > policy.json, then here: blindgate doctor --key-policy "
            "policy.json",
        )
    except PolicyUnreadable as error:
        return unknown(
            f"the policy of key {short} cannot be read: {error}",
            "see kms-tls and credentials; does the key exist in this Region?",
        )
    return examine(text, f"key {short}", measured)


def examine(text: str, name: str, measured: Mapping[str, Mapping[int, str]]) -> Result:
    """Compare a policy with measurements.

    Args:
        text: The policy.
        name: What to call it.
        measured: PCRs in lower-case hexadecimal, by enclave.
    """
    try:
        statements = parse_key_policy(text).statements
        holes = [each for each in lint(text) if each.severity is Severity.ERROR]
    except MalformedPolicyError as error:
        return failed(f"{name}: this is no key policy: {error}", "terraform apply writes it")
    for enclave, pcrs in measured.items():
        if reason := refusal(statements, pcrs):
            return failed(
                f"{name} refuses {enclave}: {reason}",
                f"add its measurements (PCR0 {pcrs.get(0, '?')[:16]}…) to the policy: blindgate "
                "policy write --pcrs …, or pcr_files of Terraform",
            )
    if holes:
        return failed(f"{name}: {holes[0].code} {holes[0].message}", holes[0].fix)
    return ok(f"{name} admits {', '.join(measured)}")


def refusal(statements: Iterable[Statement], pcrs: Mapping[int, str]) -> str:
    """Why the attestation conditions refuse these measurements; empty if they do not."""
    known = list(statements)
    if not any(
        rules.allows(each, _DECRYPT) and all(_holds(line, pcrs) for line in _attestation(each))
        for each in known
    ):
        return "no statement allows kms:Decrypt with these PCR0, PCR1 and PCR2"
    for each in known:
        lines = _attestation(each)
        denies = not each.allow and covers(each.actions, _DECRYPT)
        # A Deny with further conditions is left to KMS.
        whole = lines and len(each.conditions) == len(lines)
        if denies and whole and all(_hits(line, pcrs) for line in lines):
            return f"{each.place} denies images that it does not list"
    return ""


def _attestation(statement: Statement) -> list[Condition]:
    return [line for line in statement.conditions if line.key.lower().startswith(_PREFIX)]


def _register(line: Condition) -> int | None:
    name = line.key.lower().removeprefix(_PREFIX)
    if name == "imagesha384":
        return 0
    number = name.removeprefix("pcr")
    return int(number) if number.isdecimal() else None


def _holds(line: Condition, pcrs: Mapping[int, str]) -> bool:
    """Whether a condition of an Allow can be true; one about an unknown register can."""
    value = pcrs.get(register) if (register := _register(line)) is not None else None
    if value is None or line.operator not in _EQUAL:
        return True
    return value in {each.lower() for each in line.values}


def _hits(line: Condition, pcrs: Mapping[int, str]) -> bool:
    """Whether a condition of a Deny is true; one that is not understood is taken as false."""
    value = pcrs.get(register) if (register := _register(line)) is not None else None
    if value is None or line.operator not in _UNEQUAL:
        return False
    return value not in {each.lower() for each in line.values}
