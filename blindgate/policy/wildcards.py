"""The `*` and `?` of IAM policies.

AWS, IAM User Guide, "IAM JSON policy elements: Condition operators" and "… Action": `*` stands
for any run of characters, `?` for exactly one. Brackets mean nothing, unlike in a shell, so
`fnmatch` would be wrong here.
"""

from __future__ import annotations


def matches(pattern: str, value: str) -> bool:
    """Tell whether a pattern with `*` and `?` matches the whole value, case-sensitively.

    Two pointers with one point of return: no recursion and no regular expression, so a pattern
    of many stars costs at most len(pattern) * len(value) steps.
    """
    at, seen, star, resume = 0, 0, -1, 0
    while seen < len(value):
        if at < len(pattern) and pattern[at] == "*":
            star, resume, at = at, seen, at + 1
        elif at < len(pattern) and pattern[at] in ("?", value[seen]):
            at, seen = at + 1, seen + 1
        elif star >= 0:
            resume += 1
            at, seen = star + 1, resume
        else:
            return False
    return all(character == "*" for character in pattern[at:])


def has_wildcard(text: str) -> bool:
    """Tell whether IAM would read the text as a pattern."""
    return "*" in text or "?" in text
