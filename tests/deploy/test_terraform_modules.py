"""Terraform's own checks: `validate`, and `test` with a mocked provider."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.deploy import terraform as tf

#: Each run of a module's test starts the provider: minutes on a busy machine.
pytestmark = pytest.mark.timeout(600)


@pytest.mark.parametrize("module", tf.MODULES)
def test_the_tests_beside_the_module_pass(
    module: str, program: str, plugins: Path, sources: Path
) -> None:
    terraform = tf.Terraform(program, sources / "modules" / module, plugins)
    terraform.init()
    printed = terraform("test", "-no-color", seconds=500)
    assert "Success!" in printed


def test_the_complete_example_is_valid(program: str, plugins: Path, sources: Path) -> None:
    terraform = tf.Terraform(program, sources / "examples" / "complete", plugins)
    terraform.init()
    assert "valid" in terraform("validate", "-no-color")
