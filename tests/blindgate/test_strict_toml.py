"""TOML within limits, or one error."""

from __future__ import annotations

import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blindgate.strict_toml import TomlError, decode


def test_a_document_is_read_as_the_standard_library_reads_it() -> None:
    text = 'a = 1\nb.c = ["x", 2.5]\n[d]\ne = { f = true }\n'
    assert decode(text.encode(), max_bytes=1000) == tomllib.loads(text)


def test_the_limit_is_in_bytes() -> None:
    assert decode(b"a = 'xxx'\n", max_bytes=10) == {"a": "xxx"}
    with pytest.raises(TomlError, match="larger than 9 bytes"):
        decode(b"a = 'xxx'\n", max_bytes=9)


@pytest.mark.parametrize("separator", ["\n", "\r\n"])
def test_a_line_has_at_most_32_dots(separator: str) -> None:
    line = "a" + ".a" * 31 + " = 1.5"
    found: object = decode(f"x = 1{separator}{line}{separator}".encode(), max_bytes=1000)
    depth = 0
    while isinstance(found, dict):
        found, depth = found["a"], depth + 1
    assert (depth, found) == (32, 1.5)
    with pytest.raises(TomlError, match="line 2 has more than 32 dots"):
        decode(f"x = 1{separator}a.{line}{separator}".encode(), max_bytes=1000)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"a = ", "not TOML"),
        (b"a = 1\na = 2", "not TOML"),
        (b"\xff", "not TOML"),
        (b"a = " + b"[" * 5000 + b"]" * 5000, "nested too deeply"),
        (b"a = " + b"{a=" * 5000 + b"1" + b"}" * 5000, "nested too deeply"),
        (b"a = " + b"9" * 5000, "not TOML"),
    ],
)
def test_everything_else_is_one_error(data: bytes, said: str) -> None:
    with pytest.raises(TomlError, match=said) as refused:
        decode(data, max_bytes=100_000)
    assert len(str(refused.value)) < 300


@given(st.binary(max_size=60) | st.text(max_size=60).map(str.encode))
def test_no_bytes_give_another_error(data: bytes) -> None:
    try:
        found = decode(data, max_bytes=50)
    except TomlError:
        return
    assert len(data) <= 50
    assert found == tomllib.loads(data.decode())
