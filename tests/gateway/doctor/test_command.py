"""`blindgate doctor` on this machine, which is no parent instance."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tomllib
from importlib import import_module
from pathlib import Path

import pytest

from tests.command_line import run

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(autouse=True)
def no_parent_instance(monkeypatch: pytest.MonkeyPatch) -> None:
    if Path("/dev/nitro_enclaves").exists():
        pytest.skip("this machine is a parent instance")
    # Whatever metadata service this machine may have is none of a test's business.
    monkeypatch.setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", "http://127.0.0.1:1")


def test_the_command_is_registered() -> None:
    project = tomllib.loads((ROOT / "applications" / "pyproject.toml").read_text())["project"]
    module, _, name = project["entry-points"]["blindgate.commands"]["doctor"].partition(":")
    assert hasattr(import_module(module), name)


@pytest.mark.e2e
def test_it_shows_what_is_wrong_here_and_ends_with_1(tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    done = subprocess.run(
        [sys.executable, "-m", "blindgate", "doctor", "--report", report],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    first, fix = done.stdout.splitlines()[:2]
    assert first.startswith("failed  enclave-support  this machine cannot run enclaves")
    assert "Enabled=true" in fix
    assert "has a bug" not in done.stdout
    found = json.loads(report.read_text())
    assert found["ok"] is False
    assert "uname -a" in found["commands"]


def test_json_goes_to_stdout_alone() -> None:
    done = run("doctor", "--json")
    assert done.exit_code == 1
    assert {each["result"] for each in json.loads(done.stdout)["checks"]} >= {"failed", "skipped"}


def test_a_report_is_not_overwritten_without_force(tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    report.write_text("an older one")
    done = run("doctor", "--report", report)
    assert done.exit_code == 1
    assert "exists already" in done.stderr
    assert done.stdout == ""
    assert report.read_text() == "an older one"
    run("doctor", "--report", report, "--force")
    assert json.loads(report.read_text())["ok"] is False


def test_the_policy_that_it_reads_is_never_its_report(tmp_path: Path) -> None:
    policy = tmp_path / "policy.json"
    policy.write_text("{}")
    done = run("doctor", "--key-policy", policy, "--report", policy, "--force")
    assert done.exit_code == 2
    assert policy.read_text() == "{}"
