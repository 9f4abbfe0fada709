"""The file of the audit log: continued, moved away, full, and checked by the command."""

from __future__ import annotations

import errno
import json
import os
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from blindgate.failures import describe
from gateway.audit.chain import verify
from gateway.audit.log import (
    FILE_BYTES,
    KEPT_FILES,
    KEY_BYTES,
    AuditLog,
    AuditUnusable,
    now,
    read_key,
)
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


def files(path: Path) -> list[Path]:
    """All files of a log, the oldest first."""
    return [*sorted(path.parent.glob(f"{path.name}.*")), path]


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


def test_a_record_has_its_time_in_utc_to_the_millisecond() -> None:
    before = datetime.now(UTC) - timedelta(milliseconds=1)
    written = now()
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00", written)
    assert before <= datetime.fromisoformat(written) <= datetime.now(UTC)


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
    missing = command(path)
    assert missing.exit_code == 1
    # The handler of all commands makes a line of it.
    assert missing.exception is not None
    assert "\n" not in describe(missing.exception)
    assert str(path) in describe(missing.exception)
    path.touch()
    assert command(path, "--head", "7").exit_code == 2
    done = command(path, "--head", "7:" + "0" * 64)
    assert done.exit_code == 1


def test_a_full_file_is_followed_by_another_and_the_chain_goes_on(path: Path) -> None:
    log = AuditLog(path, file_bytes=1500)
    for number in range(40):
        log.append({"n": number})
        assert path.stat().st_size <= 1500
    log.close()
    whole = [line for file in files(path) for line in lines(file)]
    assert verify(whole) == (log.head, 40)
    assert len(files(path)) > 4
    for file in files(path)[:-1]:
        last = json.loads(lines(file)[-1])["seq"]
        assert file.name == f"audit.jsonl.{last:012d}"
        assert file.stat().st_mode & 0o777 == 0o600
    done = command(*reversed(files(path)))
    assert (done.exit_code, done.stdout.strip()) == (0, str(log.head)), "in any order"
    missing = files(path)
    del missing[1]
    assert "are missing before it" in command(*missing).stderr


def test_a_process_that_starts_behind_a_full_file_goes_on_with_its_chain(path: Path) -> None:
    log = AuditLog(path)
    for _ in range(3):
        log.append({})
    head = log.head
    log.close()
    path.rename(path.with_name(f"{path.name}.{head.seq:012d}"))
    (path.parent / "audit.jsonl.notes").write_text("not a log\n")
    (path.parent / "audit.jsonl.folder").mkdir()
    os.mkfifo(path.parent / "audit.jsonl.pipe")  # to open it would wait for who writes
    log = AuditLog(path)
    assert log.head == head
    log.append({})
    log.close()
    assert verify(lines(path), after=head) == (log.head, 1)


def test_only_so_many_full_files_are_kept_and_the_rest_is_verified_after_them(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    other = path.with_name("audit.jsonl.000000000001.gz")
    other.write_bytes(b"not ours to delete")
    log = AuditLog(path, file_bytes=1000, kept_files=3)
    for _ in range(60):
        log.append({})
    log.close()
    other.unlink()
    assert len(files(path)) == 4
    deleted = [r.head for r in caplog.records if "was deleted" in r.message]  # type: ignore[attr-defined]
    assert len(deleted) > 1
    assert command(*files(path)).exit_code == 1
    assert command(*files(path), "--after", deleted[-1]).exit_code == 0


def test_the_sizes_are_those_of_the_documentation() -> None:
    assert (FILE_BYTES, KEPT_FILES) == (64 * 1024 * 1024, 32)
    assert (KEY_BYTES.start, KEY_BYTES.stop) == (32, 1025)


def test_a_keyed_log_is_continued_and_verified_with_its_key_alone(
    path: Path, tmp_path: Path
) -> None:
    key_file = tmp_path / "key"
    key_file.write_text("0123456789abcdef" * 2 + "\n")
    for _ in range(2):
        log = AuditLog(path, key=read_key(key_file))
        log.append({})
        log.close()
    assert command(path, "--audit-key", key_file).stdout.strip() == str(log.head)
    assert "written with a key" in command(path).stderr
    with pytest.raises(AuditUnusable, match="under this key"):
        AuditLog(path)
    key_file.write_text("another key" * 3)
    assert "another key or none" in command(path, "--audit-key", key_file).stderr
    with pytest.raises(AuditUnusable, match="under this key"):
        AuditLog(path, key=read_key(key_file))


@pytest.mark.parametrize("content", [b"", b"x" * 31 + b"\n", b"x" * 1025])
def test_a_key_that_is_none_is_refused(tmp_path: Path, path: Path, content: bytes) -> None:
    file = tmp_path / "key"
    file.write_bytes(content)
    with pytest.raises(AuditUnusable, match="32 to 1024 bytes"):
        read_key(file)
    path.touch()
    assert command(path, "--audit-key", file).exit_code == 2
    assert command(path, "--audit-key", tmp_path / "none").exit_code == 1


@pytest.mark.parametrize("length", [32, 1024])
def test_a_key_has_its_bytes_without_the_end_of_its_line(tmp_path: Path, length: int) -> None:
    file = tmp_path / "key"
    file.write_bytes(b"x" * length + b"\n")
    assert read_key(file) == b"x" * length


def test_a_log_whose_last_record_was_not_written_is_tried_again(
    path: Path, log: AuditLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    log.append({})
    assert log.can_write()
    assert len(lines(path)) == 1, "nothing is written to find that out"

    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", full)
        with pytest.raises(OSError, match="No space"):
            log.append({})
        assert not log.can_write()
        assert not log.can_write()
    assert log.can_write()
    checked = json.loads(lines(path)[-1])
    assert checked["operation"] == "auditCheck"
    assert datetime.now(UTC) - datetime.fromisoformat(checked["time"]) < timedelta(hours=1)
    assert verify(lines(path)) == (log.head, 2)


def test_heads_are_noted_every_hundred_records_and_when_asked_for(
    log: AuditLog, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")

    def noted() -> list[str]:
        return [r.head for r in caplog.records if r.message == "audit log head"]  # type: ignore[attr-defined]

    for _ in range(99):
        log.append({})
    assert not noted()
    log.append({})
    assert noted() == [str(log.head)]
    log.log_head()
    assert len(noted()) == 1, "no head is noted twice"
    log.append({})
    log.log_head()
    assert noted()[1:] == [str(log.head)]
    for _ in range(99):
        log.append({})
    assert len(noted()) == 2
    log.append({})
    assert len(noted()) == 3
