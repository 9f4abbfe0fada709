"""Terraform's own checks: `validate`, and `test` with a mocked provider."""

from __future__ import annotations

import json
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


ARCHITECTURES = ("x86_64", "arm64")


def fleet(path: Path, architecture: str, **more: object) -> Path:
    """A file of variables with one fleet, whose image is for `architecture`."""
    entry = {
        "eif": {"key": "a", "version_id": "v", "sha256": "1" * 64},
        "release": {"key": "b", "version_id": "v", "sha256": "2" * 64},
        "requirements": {"architecture": architecture, "memory_mib": 2048, "cpus": 1},
        **more,
    }
    measurements = path.with_name("blue.pcrs.json")
    measurements.write_text(json.dumps({f"PCR{index}": "1" * 96 for index in range(3)}))
    variables = {"fleets": {"blue": entry}, "pcr_files": {"blue": str(measurements)}}
    path.write_text(json.dumps(variables))
    return path


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_each_architecture_has_an_example_that_takes_its_images_only(
    architecture: str, program: str, plugins: Path, sources: Path, tmp_path: Path
) -> None:
    (other,) = set(ARCHITECTURES) - {architecture}
    terraform = tf.Terraform(program, sources / "examples" / "complete", plugins)
    terraform.init()
    test = ["test", "-no-color", f"-filter=tests/{architecture}.tftest.hcl"]
    test += [f"-var-file={architecture}.tfvars"]

    own = fleet(tmp_path / "own.tfvars.json", architecture)
    assert "1 passed, 0 failed" in terraform(*test, f"-var-file={own}", seconds=300)

    foreign = fleet(tmp_path / "foreign.tfvars.json", other)
    printed = terraform(*test, f"-var-file={foreign}", code=1, seconds=300)
    (problem,) = printed.split("Error: ")[1:]
    words = " ".join(problem.replace("│", " ").split())
    assert f"image of fleet blue is for {other}, and architecture is {architecture}" in words


def test_the_number_of_instances_of_older_releases_is_refused_in_the_example(
    program: str, plugins: Path, sources: Path, tmp_path: Path
) -> None:
    terraform = tf.Terraform(program, sources / "examples" / "complete", plugins)
    terraform.init()
    old = fleet(tmp_path / "old.tfvars.json", "x86_64", instances=3)
    test = ("test", "-no-color", "-filter=tests/x86_64.tftest.hcl", f"-var-file={old}")
    printed = terraform(*test, code=1, seconds=300)
    assert "write `min = N` for `instances = N`" in " ".join(printed.replace("│", " ").split())
