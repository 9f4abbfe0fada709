"""`blindgate keys …`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from gateway.auth.key_file import KeyFile
from gateway.cli import keys


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "keys.json"


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(keys, [str(each) for each in arguments], env={"COLUMNS": "200"})


def test_a_key_is_made_shown_once_listed_and_revoked(file: Path) -> None:
    made = run("create", "mobile-app", "--scope", "detect", "--file", file)
    assert made.exit_code == 0, made.output
    key = made.stdout.strip()
    found = KeyFile(file).find(key)
    assert found is not None
    assert found.expires is not None
    assert key not in file.read_text()
    listed = run("list", "--file", file, "--json")
    (record,) = json.loads(listed.stdout)
    assert (record["name"], record["scopes"]) == ("mobile-app", ["detect"])
    assert "sha256" not in record
    assert key not in listed.stdout
    assert "valid until" in run("list", "--file", file).stdout
    assert run("revoke", record["id"], "--file", file).exit_code == 0
    assert KeyFile(file).find(key) is None
    assert "revoked" in run("list", "--file", file).stdout


def test_never_is_never(file: Path) -> None:
    assert run("create", "a", "--expires", "never", "--file", file).exit_code == 0
    assert json.loads(run("list", "--json", "--file", file).stdout)[0]["expires"] is None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["create", "a"], "say where the keys are"),
        (["create", "a", "--file", "FILE", "--secret", "s"], "say where the keys are"),
        (["create", "a", "--expires", "3y", "--file", "FILE"], "no length of time"),
        (["create", "a", "--expires", "0d", "--file", "FILE"], "no length of time"),
        (["create", "a", "--scope", "all", "--file", "FILE"], "all"),
        (["create", "a\nb", "--file", "FILE"], "1 to 64 printable"),
        (["revoke", "0" * 16, "--file", "FILE"], "there is no key"),
        (["list", "--file", "/"], "directory"),
    ],
)
def test_mistakes_are_one_line_each(file: Path, arguments: list[str], message: str) -> None:
    done = run(*(str(file) if each == "FILE" else each for each in arguments))
    assert done.exit_code in (1, 2)
    assert message in done.output
    assert "Traceback" not in done.output


def test_a_file_that_is_something_else_is_left_alone(file: Path) -> None:
    file.write_text("{}x")
    assert run("create", "a", "--file", file).exit_code == 1
    assert file.read_text() == "{}x"
