"""What can be said about the Terraform files without running them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from blindgate.policy.actions import ADMINISTRATION, GRANTING, REPLICATING, WRAPPING
from tests.deploy import terraform as tf

FILES = sorted(tf.SOURCES.rglob("*.tf"))


def test_there_are_files() -> None:
    """What the tests below loop over."""
    modules = {path.relative_to(tf.SOURCES).parts[1] for path in FILES}
    assert set(tf.MODULES) | {"complete"} <= modules
    blocks = [block for path in FILES for block in described(path)]
    assert len(blocks) > 60
    assert sum("checkov:skip" in path.read_text() for path in FILES) >= 3


def described(path: Path) -> list[str]:
    """The variables and outputs of a file."""
    return re.split(r"^(?=variable |output )", path.read_text(), flags=re.MULTILINE)[1:]


def actions(name: str) -> list[str]:
    """The list of actions behind a word in the module that writes key policies."""
    text = (tf.SOURCES / "modules" / "kms" / "policy" / "main.tf").read_text()
    found = re.search(rf"{name}.*?Action\s*=\s*\[(.*?)\]", text, re.DOTALL)
    assert found
    return re.findall(r'"([^"]+)"', found[1])


def test_the_key_policy_lists_the_actions_that_the_command_lists() -> None:
    """tests/deploy/test_key_policy.py compares whole policies, where terraform is installed."""
    assert actions('"AdministratorsManageTheKey"') == list(ADMINISTRATION)
    assert actions('"DataOwnersWrap"') == list(WRAPPING)
    assert actions('"DenyGrantsAndReplicas"') == [GRANTING, REPLICATING]


def test_every_file_is_formatted(program: str, sources: Path) -> None:
    assert tf.Terraform(program, sources)("fmt", "-check", "-recursive") == ""


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(tf.SOURCES)))
def test_every_variable_and_output_says_what_it_is(path: Path) -> None:
    for block in described(path):
        assert re.search(r'^  description = "[A-Z`].*\."$', block, re.MULTILINE), block[:60]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(tf.SOURCES)))
def test_every_suppression_of_checkov_gives_its_reason(path: Path) -> None:
    for line in path.read_text().splitlines():
        if "checkov:skip" in line:
            assert re.search(r"checkov:skip=CKV2?_AWS_\d+:\S.{30,}", line), line
