"""Files and folders that appear only when they are complete."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from blindgate.atomic_files import making_folder, write_file, writing


def failing(number: int) -> object:
    def fail(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    return fail


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EACCES, errno.EROFS, errno.EIO])
def test_a_folder_that_cannot_get_its_name_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    monkeypatch.setattr(Path, "rename", failing(number))
    with (
        pytest.raises(OSError, match=os.strerror(number)),
        making_folder(tmp_path / "made") as draft,
    ):
        (draft / "file").write_text("x")
    assert list(tmp_path.iterdir()) == []


def test_the_first_of_two_builds_wins(tmp_path: Path) -> None:
    with making_folder(tmp_path / "made") as second:
        with making_folder(tmp_path / "made") as first:
            (first / "file").write_text("first")
        (second / "file").write_text("second")
    assert (tmp_path / "made" / "file").read_text() == "first"
    assert [each.name for each in tmp_path.iterdir()] == ["made"]


def test_a_file_in_the_way_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "made").write_text("a file")
    with pytest.raises(NotADirectoryError), making_folder(tmp_path / "made"):
        pass
    assert (tmp_path / "made").read_text() == "a file"


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EACCES])
def test_a_file_that_cannot_be_written_stays_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    path = tmp_path / "file"
    write_file(path, b"before")
    monkeypatch.setattr(Path, "replace", failing(number))
    with pytest.raises(OSError, match=os.strerror(number)) as failed:
        write_file(path, b"after")
    assert failed.value.filename == str(path)
    assert path.read_bytes() == b"before"
    assert [each.name for each in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("links", [True, False], ids=["hard links", "no hard links"])
def test_a_file_that_may_not_be_replaced_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, links: bool
) -> None:
    if not links:
        monkeypatch.setattr(Path, "hardlink_to", failing(errno.EPERM))
    path = tmp_path / "file"
    write_file(path, b"first", replace=False)
    with pytest.raises(FileExistsError):
        write_file(path, b"second", replace=False)
    assert path.read_bytes() == b"first"
    assert [each.name for each in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize(("mode", "expected"), [(0o600, 0o600), (0o644, 0o644), (None, 0o640)])
def test_permissions_are_those_asked_for_or_the_umask_s(
    tmp_path: Path, mode: int | None, expected: int
) -> None:
    before = os.umask(0o027)
    try:
        write_file(tmp_path / "new" / "file", b"x", mode=mode)
    finally:
        os.umask(before)
    assert (tmp_path / "new" / "file").stat().st_mode & 0o777 == expected


def test_a_block_that_fails_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_file(path, b"before")
    with pytest.raises(KeyError), writing(path) as file:
        file.write(b"aft")
        raise KeyError
    assert path.read_bytes() == b"before"
    assert [each.name for each in tmp_path.iterdir()] == ["file"]
