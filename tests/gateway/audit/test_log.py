"""The file of the audit log: continued, moved away, full, and checked by the command."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from gateway.audit.chain import verify
from gateway.audit.log import AuditLog, AuditUnusable
from gateway.cli import audit


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "audit.jsonl"


@pytest.fixture
def log(path: Path) -> Iterator[AuditLog]:
    log = AuditLog(path)
    yield log
    log.close()


def lines(path: Path) -> list[bytes]:
    return path.read_bytes().splitlines(keepends=True)


def command(*arguments: object) -> Result:
    return CliRunner().invoke(audit, ["verify", *map(str, arguments)])


def test_records_are_there_when_append_returns(path: Path, log: AuditLog) -> None:
    for number in range(3):
        log.append({"n": number})
        assert json.loads(lines(path)[-1])["n"] == number
    assert verify(lines(path)) == (log.head, 3)
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_new_process_goes_on_where_the_last_one_ended(path: Path) -> None:
    for _ in range(3):
        log = AuditLog(path)
        log.append({})
        log.append({})
        log.close()
    assert verify(lines(path))[1] == 6


def test_two_processes_do_not_write_to_one_log(path: Path, log: AuditLog) -> None:
    with pytest.raises(AuditUnusable, match="another process"):
        AuditLog(path)


@pytest.mark.parametrize("end", [b"{", b"nonsense\n", b'{"seq":1}\n'])
def test_an_end_that_is_no_record_is_not_continued(path: Path, end: bytes) -> None:
    path.write_bytes(end)
    with pytest.raises(AuditUnusable, match="blindgate audit verify"):
        AuditLog(path)
    assert path.read_bytes() == end


def test_a_moved_file_is_followed_by_a_new_one(path: Path, log: AuditLog, tmp_path: Path) -> None:
    log.append({})
    old = path.rename(tmp_path / "audit.1")
    log.append({})
    log.append({})
    end, _ = verify(lines(old))
    assert verify(lines(path), after=end)[0] == log.head
    assert command(old, path).exit_code == 0
    assert command(path).exit_code == 1


def test_a_full_disk_leaves_no_half_line(
    path: Path, log: AuditLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    log.append({})
    write = os.write
    monkeypatch.setattr(os, "write", lambda handle, data: write(handle, data[:10]))
    with pytest.raises(OSError, match="No space"):
        log.append({})
    monkeypatch.undo()
    log.append({})
    assert verify(lines(path)) == (log.head, 2)


def test_the_command_says_where_a_log_ends(path: Path, log: AuditLog) -> None:
    for _ in range(3):
        log.append({})
    done = command(path)
    assert (done.exit_code, done.stdout.strip()) == (0, str(log.head))
    assert command(path, "--head", log.head).exit_code == 0


def test_the_command_names_the_line_that_is_wrong(path: Path, log: AuditLog) -> None:
    for number in range(4):
        log.append({"caller": f"api-key:{number}"})
    whole = lines(path)
    path.write_bytes(whole[0] + whole[1].replace(b"key:1", b"key:9") + whole[2] + whole[3])
    done = command(path)
    assert done.exit_code == 1
    assert f"{path}: line 2: its content does not have the hash" in done.stderr
    path.write_bytes(whole[0] + whole[1])
    assert command(path).exit_code == 0
    done = command(path, "--head", log.head)
    assert done.exit_code == 1
    assert "record 4 was noted, and the log ends at 2" in done.stderr


def test_wrong_use_of_the_command_is_one_line(path: Path) -> None:
    assert command(path).exit_code == 1
    assert "No such file" in command(path).stderr
    path.touch()
    assert command(path, "--head", "7").exit_code == 2
    done = command(path, "--head", "7:" + "0" * 64)
    assert done.exit_code == 1
