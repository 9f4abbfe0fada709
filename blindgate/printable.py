"""Text that came from elsewhere, made safe to print on a terminal."""

from __future__ import annotations


def printable(text: object, *, keep: str = "") -> str:
    r"""Text without characters that could steer a terminal or hide other text.

    Control characters (ESC, newline, C1), marks that reverse the direction of writing, and bytes
    of file names that are not UTF-8 become escapes, such as `\x1b` and `\u202e`.

    Args:
        text: What to print; anything but a string is converted by `str`.
        keep: Characters that stay as they are, such as a newline.
    """
    text = str(text)
    if text.isprintable():
        return text
    return "".join(
        each
        if each.isprintable() or each in keep
        else each.encode("unicode_escape", "surrogatepass").decode("ascii")
        for each in text
    )


def printable_json(text: str) -> str:
    r"""JSON whose strings hold no character that could steer a terminal, and mean the same.

    Outside of its strings JSON has no such character but line breaks, so all others are replaced
    by `\uXXXX`, in two halves if need be.
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(
        each if each == "\n" or each.isprintable() else _json_escape(each) for each in text
    )


def _json_escape(each: str) -> str:
    halves = each.encode("utf-16-be", "surrogatepass")
    return "".join(
        f"\\u{int.from_bytes(halves[i : i + 2], 'big'):04x}" for i in range(0, len(halves), 2)
    )
