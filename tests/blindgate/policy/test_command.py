"""`blindgate policy`, and the example that the repository ships."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from blindgate.cli import app
from blindgate.policy.lint import lint
from tests.kms_fixtures import ADMIN, CLIENT, PARENT, measurements


def run(*arguments: str | Path) -> Any:
    return CliRunner().invoke(app, ["policy", *map(str, arguments)])


@pytest.fixture
def pcrs(tmp_path: Path) -> Path:
    path = tmp_path / "pcrs.json"
    values = {f"PCR{i}": value.hex() for i, value in measurements("blue").items()}
    path.write_text(json.dumps({"Measurements": {"HashAlgorithm": "Sha384 { ... }", **values}}))
    return path


@pytest.mark.parametrize("spelling", [(), ("write",)])
def test_a_policy_is_written_to_stdout(spelling: tuple[str, ...], pcrs: Path) -> None:
    done = run(
        *spelling,
        *("--pcrs", pcrs, "--role", PARENT, "--admin", ADMIN, "--encrypt-principal", CLIENT),
        *("--encryption-context", "purpose=image"),
    )
    assert done.exit_code == 0, done.output
    assert lint(done.stdout) == []
    assert measurements("blue")[2].hex() in done.stdout
    assert '"kms:EncryptionContext:purpose": "image"' in done.stdout
    statements = json.loads(done.stdout)["Statement"]
    named = {each["Sid"]: each["Principal"]["AWS"] for each in statements if "Sid" in each}
    assert CLIENT in named.values(), "who may encrypt"
    assert {PARENT, ADMIN} <= {*named.values()}


def test_what_was_written_passes_the_linter(pcrs: Path, tmp_path: Path) -> None:
    policy = tmp_path / "policy.json"
    policy.write_text(run("--pcrs", pcrs, "--role", PARENT, "--admin", ADMIN).stdout)
    done = run("lint", policy)
    assert done.exit_code == 0
    assert "no holes found" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        ((), 2, "--pcrs, --role and --admin"),
        (("--role", PARENT), 2, "--pcrs, --role and --admin"),
        (("--role", "*", "--admin", ADMIN), 1, "not the ARN"),
        (("--role", PARENT, "--admin", ADMIN, "--encryption-context", "x"), 2, "name=value"),
    ],
)
def test_what_cannot_be_written_says_why(
    pcrs: Path, arguments: tuple[str, ...], code: int, text: str
) -> None:
    done = run(*(("--pcrs", pcrs) if "--admin" in arguments else ()), *arguments)
    assert done.exit_code == code
    assert text in done.stderr
    assert done.stdout == ""


def test_measurements_of_a_debug_build_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "debug.json"
    path.write_text(json.dumps({f"PCR{i}": "0" * 96 for i in (0, 1, 2)}))
    done = run("--pcrs", path, "--role", PARENT, "--admin", ADMIN)
    assert done.exit_code == 1
    assert "zero" in done.stderr


OPEN = {
    "Statement": {
        "Effect": "Allow",
        "Principal": {"AWS": PARENT},
        "Action": "kms:Decrypt",
        "Resource": "*",
    }
}


def test_a_hole_is_an_exit_code_of_one(tmp_path: Path) -> None:
    path = tmp_path / "policy.json"
    path.write_text(json.dumps(OPEN))
    done = run("lint", path)
    assert done.exit_code == 1
    assert "BP101 error: Statement[0]" in done.stderr
    assert "fix: require kms:RecipientAttestation" in done.stderr


def test_findings_come_as_json_too(tmp_path: Path) -> None:
    path = tmp_path / "policy.json"
    path.write_text(json.dumps(OPEN))
    done = run("lint", "--json", path)
    assert done.exit_code == 1
    assert [each["code"] for each in json.loads(done.stdout)] == ["BP101", "BP113"]


def test_what_is_no_policy_is_said_to_be_none(tmp_path: Path) -> None:
    path = tmp_path / "policy.json"
    path.write_text("{}")
    done = run("lint", path)
    assert done.exit_code == 1
    assert "is not a key policy: Statement" in done.stderr
