"""The marks between which the section on overload stands in `docs/performance.md`."""

from __future__ import annotations

from typing import Final

BEGIN: Final = "<!-- overload: written by python -m bench.overload -->\n"
END: Final = "<!-- overload: end -->\n"


def insert(page: str, text: str) -> str:
    """Put a section into a page, in the place of the one that is there."""
    new = f"{BEGIN}\n{text}\n{END}"
    if (old := kept(page)) is not None:
        return page.replace(old, new)
    return page + ("\n" if page else "") + new


def kept(page: str) -> str | None:
    """The section of a page, marks included."""
    start, end = page.find(BEGIN), page.find(END)
    return page[start : end + len(END)] if 0 <= start < end else None
