"""`blindgate keys …`."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import pytest

from gateway.auth.key_file import KeyFile
from tests import command_line
from tests.command_line import Done


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "keys.json"


def run(*arguments: str | Path) -> Done:
    return command_line.run("keys", *arguments)


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
        (["create", "a", "--expires", "3y", "--file", "FILE"], "not a length of time"),
        (["create", "a", "--expires", "0d", "--file", "FILE"], "not a length of time"),
        (["create", "a", "--scope", "all", "--file", "FILE"], "all"),
        (["create", "a\nb", "--file", "FILE"], "1 to 64 printable"),
        (["revoke", "0" * 16, "--file", "FILE"], "there is no key"),
        (["list", "--file", "/"], "directory"),
        (["list", "--file", "absent/keys.json"], "cannot read absent/keys.json"),
        (["revoke", "0" * 16, "--file", "absent/keys.json"], "cannot write absent/keys.json"),
    ],
)
def test_mistakes_are_one_line_each(file: Path, arguments: list[str], message: str) -> None:
    done = run(*(str(file) if each == "FILE" else each for each in arguments))
    assert done.exit_code in (1, 2)
    assert message in done.output
    assert "Traceback" not in done.output


def test_a_file_that_is_something_else_is_left_alone(file: Path) -> None:
    file.write_text("{}x")
    done = run("create", "a", "--file", file)
    assert done.exit_code == 1
    assert f"{file}: not a list of API keys: Invalid JSON" in done.stderr
    assert file.read_text() == "{}x"


def test_a_file_that_cannot_be_written_keeps_its_keys(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run("create", "a", "--file", file).exit_code == 0
    before = file.read_bytes()

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    done = run("create", "b", "--file", file)
    assert done.exit_code == 1
    assert done.stderr == f"blindgate: cannot write {file}: No space left on device\n"
    assert done.stdout == ""
    assert file.read_bytes() == before
    assert [each.name for each in file.parent.iterdir() if ".lock" not in each.name] == [file.name]


def test_a_name_cannot_steer_the_terminal(file: Path) -> None:
    name = "[red]\u202e\u009b2J"
    assert run("create", name, "--file", file).exit_code == 0
    listed = run("list", "--file", file)
    assert "[red]\\u202e\\x9b2J" in listed.stdout
    assert json.loads(run("list", "--file", file, "--json").stdout)[0]["name"] == name
