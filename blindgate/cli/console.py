"""How the command line speaks: answers to stdout, everything else to stderr."""

from __future__ import annotations

from typing import NoReturn

import typer
from rich.console import Console

#: Tables, progress and messages; stdout stays free for JSON and other answers.
err = Console(stderr=True, highlight=False, soft_wrap=True)
#: Answers that a person reads.
out = Console(highlight=False, soft_wrap=True)


def fail(message: str, hint: str | None = None, code: int = 1) -> NoReturn:
    """End the command with one line that says what is wrong, and what to do next.

    Args:
        message: What went wrong, without a trailing full stop.
        hint: What the person can do about it.
        code: The exit code; 1 for a refusal or failure, 2 for wrong usage.

    Raises:
        typer.Exit: Always.
    """
    text = f"blindgate: {message}" + (f". {hint}" if hint else "")
    err.print(text, style="red", markup=False)
    raise typer.Exit(code)
