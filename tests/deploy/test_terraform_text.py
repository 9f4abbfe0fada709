"""What can be said about the Terraform files without running them."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.deploy import terraform as tf

FILES = sorted(tf.SOURCES.rglob("*.tf"))


def test_every_file_is_formatted(program: str, sources: Path) -> None:
    assert tf.Terraform(program, sources)("fmt", "-check", "-recursive") == ""


def test_every_readme_is_the_one_that_the_command_writes() -> None:
    script = tf.SOURCES / "readmes.py"
    done = subprocess.run(
        [sys.executable, script, "--check"], capture_output=True, text=True, check=False
    )
    assert done.stderr == ""


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(tf.SOURCES)))
def test_every_variable_and_output_says_what_it_is(path: Path) -> None:
    for block in re.split(r"^(?=variable |output )", path.read_text(), flags=re.MULTILINE)[1:]:
        assert re.search(r'^  description = "[A-Z`].*\."$', block, re.MULTILINE), block[:60]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(tf.SOURCES)))
def test_every_suppression_of_checkov_gives_its_reason(path: Path) -> None:
    for line in path.read_text().splitlines():
        if "checkov:skip" in line:
            assert re.search(r"checkov:skip=CKV2?_AWS_\d+:\S.{30,}", line), line
