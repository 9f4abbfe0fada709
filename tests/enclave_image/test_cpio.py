from __future__ import annotations

import stat

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from enclave_image.cpio import FOLDER, Entry, archive, file, link
from enclave_image.errors import ImageError


def unpack(data: bytes) -> list[tuple[str, Entry]]:
    """A reader of its own, written from the kernel's description of the format."""
    found: list[tuple[str, Entry]] = []
    position = 0
    while True:
        assert data[position : position + 6] == b"070701"
        fields = [int(data[position + 6 + 8 * n : position + 14 + 8 * n], 16) for n in range(13)]
        start = position + 110
        name = data[start : start + fields[11] - 1].decode()
        body = start + fields[11] + -(start + fields[11]) % 4
        if name == "TRAILER!!!":
            assert body == len(data)
            return found
        assert fields[2:4] == [0, 0]
        assert fields[5] == 0
        found.append((name, Entry(fields[1], data[body : body + fields[6]])))
        position = body + fields[6] + -(body + fields[6]) % 4


NAMES = st.from_regex(r"[a-z]{1,5}(/[a-z]{1,5}){0,3}", fullmatch=True)


@given(st.dictionaries(NAMES, st.binary(max_size=40), max_size=8))
@settings(max_examples=50)
def test_files_come_out_sorted_with_their_folders(contents: dict[str, bytes]) -> None:
    entries = {f"{name}.txt": file(data) for name, data in contents.items()}
    found = unpack(archive(entries))
    assert [name for name, _ in found] == sorted(name for name, _ in found)
    assert {name: entry for name, entry in found if entry != FOLDER} == entries
    for name, _ in found:
        parent = name.rpartition("/")[0]
        assert not parent or dict(found)[parent] == FOLDER


def test_the_order_of_adding_does_not_show() -> None:
    entries = {"b": file(b"2"), "a/c": link("../b"), "a/b": file(b"", executable=True)}
    assert archive(entries) == archive(dict(reversed(entries.items())))


def test_types_and_permissions_are_kept() -> None:
    found = dict(unpack(archive({"init": file(b"#!", executable=True), "lib": link("usr/lib")})))
    assert stat.S_IMODE(found["init"].mode) == 0o755
    assert stat.S_ISLNK(found["lib"].mode)
    assert found["lib"].data == b"usr/lib"


@pytest.mark.parametrize("name", ["/etc/passwd", "../up", "a/../b", "", ".", "a\0b"])
def test_paths_that_leave_the_root_are_refused(name: str) -> None:
    with pytest.raises(ImageError):
        archive({name: file(b"")})
