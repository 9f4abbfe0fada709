"""`*` and `?` as IAM reads them."""

from __future__ import annotations

import fnmatch

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from blindgate.policy.wildcards import has_wildcard, matches


@pytest.mark.parametrize(
    ("pattern", "value", "true"),
    [
        ("", "", True),
        ("", "a", False),
        ("*", "", True),
        ("*", "anything", True),
        ("?", "", False),
        ("?", "a", True),
        ("a*c", "abbbc", True),
        ("a*c", "ab", False),
        ("*a*a*", "banana", True),
        ("kms:D?crypt", "kms:Decrypt", True),
        ("kms:Decrypt", "kms:Decrypt2", False),
        ("[ab]", "a", False),
        ("[ab]", "[ab]", True),
        ("A", "a", False),
    ],
)
def test_a_pattern(pattern: str, value: str, true: bool) -> None:
    assert matches(pattern, value) is true


@given(st.text("ab*?", max_size=12), st.text("ab", max_size=12))
@settings(max_examples=300)
def test_it_agrees_with_fnmatch_where_both_mean_the_same(pattern: str, value: str) -> None:
    assert matches(pattern, value) == fnmatch.fnmatchcase(value, pattern)


@pytest.mark.timeout(60)
def test_many_stars_do_not_explode() -> None:
    assert not matches("*a" * 200 + "b", "a" * 5000)


def test_a_wildcard_is_seen() -> None:
    assert has_wildcard("a*")
    assert has_wildcard("a?")
    assert not has_wildcard("[a]")
