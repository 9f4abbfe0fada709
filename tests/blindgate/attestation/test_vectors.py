"""Every rule of the verifier, each broken by a document of its own: the published vectors."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from blindgate.attestation import AttestationError, Trust, errors, verify
from tests.vectors.attestation import cases
from tests.vectors.forge import PINNED, Case


@pytest.mark.parametrize("case", cases(), ids=lambda case: case.name)
def test_document_verifies_or_breaks_exactly_its_rule(case: Case) -> None:
    trust = Trust(PINNED, case.pcr_sets, allow_debug=case.allow_debug)
    refused = matched = None
    try:
        attestation = verify(case.document, trust=trust, nonce=case.nonce, now=case.at)
    except AttestationError as error:
        refused = error.rule
    else:
        matched = attestation.pcr_set and attestation.pcr_set.name
    assert refused == case.refused
    assert matched == (None if case.refused else case.matches)


def _rules(family: type[AttestationError]) -> set[str]:
    below = family.__subclasses__()
    return {family.rule} if not below else set().union(*map(_rules, below))


def test_every_rule_for_documents_has_a_vector() -> None:
    # InvalidTrust and InvalidUserData are not about the document itself.
    others = _rules(errors.InvalidTrust) | {errors.InvalidUserData.rule}
    assert {case.refused for case in cases() if case.refused} == _rules(AttestationError) - others


def test_rules_have_distinct_names() -> None:
    classes = [
        item
        for item in vars(errors).values()
        if isinstance(item, type) and issubclass(item, AttestationError)
    ]
    assert len({error.rule for error in classes}) == len(classes)


def test_every_rule_for_documents_is_documented() -> None:
    page = (Path(__file__).parents[3] / "docs" / "attestation.md").read_text()
    listed = re.findall(r"^\| `([a-z0-9-]+)` \|", page, re.MULTILINE)
    assert sorted(listed) == sorted({case.refused for case in cases() if case.refused})
