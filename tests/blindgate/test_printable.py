"""Text from elsewhere, made safe for a terminal."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blindgate.failures import indented
from blindgate.printable import printable, printable_json

#: Also lone surrogates: bytes of file names that are not UTF-8.
TEXT = st.text(st.characters(categories=None, exclude_categories=()))


@given(TEXT)
def test_nothing_that_steers_is_left(text: str) -> None:
    assert printable(text).isprintable()
    assert all(each.isprintable() or each == "\n" for each in printable(text, keep="\n"))
    printable(text).encode()  # can be written


@given(st.text(st.characters(exclude_categories=["C", "Z"])))
def test_ordinary_text_stays_as_it_is(text: str) -> None:
    assert printable(text) == text


@given(st.recursive(TEXT | st.integers(), lambda inner: st.lists(inner, max_size=3)))
def test_json_means_the_same(value: object) -> None:
    for ascii_only in (False, True):
        text = printable_json(json.dumps(value, indent=2, ensure_ascii=ascii_only))
        assert json.loads(text) == value
        assert all(each.isprintable() or each == "\n" for each in text)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[2J", "\\x1b[2J"),
        ("\u009b31m", "\\x9b31m"),
        ("a\rb", "a\\rb"),
        ("\u202eevil", "\\u202eevil"),
        ("\udcff", "\\udcff"),
        ("caf\u00e9 \u65e5\u672c", "caf\u00e9 \u65e5\u672c"),
    ],
)
def test_escapes_say_what_was_there(text: str, shown: str) -> None:
    assert printable(text) == shown


def test_no_further_line_passes_for_one_of_its_own() -> None:
    assert indented("first\nVERIFIED: all\n   third") == "first\n  VERIFIED: all\n  third"
