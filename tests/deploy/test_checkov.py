"""checkov finds nothing that is not explained where it is suppressed."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.deploy import terraform as tf


def scan(tools: Path, framework: str, *arguments: str) -> dict[str, Any]:
    done = subprocess.run(
        [tools / "checkov", "--framework", framework, "--skip-download", "-o", "json", *arguments],
        capture_output=True,
        text=True,
        # It looks things up on the network otherwise, and says so at length.
        env={**os.environ, "LOG_LEVEL": "ERROR"},
        check=False,
    )
    report = json.loads(done.stdout)
    assert isinstance(report, dict), "checkov scanned something else"
    return report


@pytest.fixture(scope="module")
def terraform_report(tools: Path) -> dict[str, Any]:
    return scan(tools, "terraform", "-d", str(tf.SOURCES))


def test_terraform_has_no_finding(terraform_report: dict[str, Any]) -> None:
    results = terraform_report["results"]
    assert [(each["check_id"], each["resource"]) for each in results["failed_checks"]] == []
    assert results["parsing_errors"] == []


def test_all_modules_were_looked_at(terraform_report: dict[str, Any]) -> None:
    seen = {each["file_path"] for each in terraform_report["results"]["passed_checks"]}
    for module in tf.MODULES:
        assert any(f"/modules/{module}/" in path for path in seen), module


def test_every_suppression_is_used(terraform_report: dict[str, Any]) -> None:
    """One that nothing is suppressed by would hide a finding that comes later."""
    used = {
        (each["file_path"].lstrip("/"), each["check_id"])
        for each in terraform_report["results"]["skipped_checks"]
    }
    written = {
        (str(path.relative_to(tf.SOURCES)), line.split("checkov:skip=")[1].split(":")[0])
        for path in tf.SOURCES.rglob("*.tf")
        for line in path.read_text().splitlines()
        if "checkov:skip=" in line
    }
    assert written == used


def test_dockerfiles_have_no_finding(tools: Path) -> None:
    files = [
        argument
        for path in ("gateway/Dockerfile", "devstack/Dockerfile")
        for argument in ("-f", str(tf.ROOT / path))
    ]
    results = scan(tools, "dockerfile", *files)["results"]
    assert [(each["check_id"], each["file_path"]) for each in results["failed_checks"]] == []
