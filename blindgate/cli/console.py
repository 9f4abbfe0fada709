"""How the command line speaks: answers to stdout, everything else to stderr.

Nothing that is printed here is taken for markup, and no character of it steers the terminal:
texts come from gateways, files and file names. What is coloured on purpose is a `Text` or has a
`style`.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final, NoReturn

import typer
from rich.console import Console, ConsoleDimensions
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

from blindgate.failures import indented
from blindgate.printable import printable, printable_json

if TYPE_CHECKING:
    from rich.console import ConsoleOptions, RenderableType

#: Where no terminal has a width, nothing is cut off or wrapped: what reads it has no window.
_ENDLESS: Final = ConsoleDimensions(100_000, 25)


class _Console(Console):
    """A console that prints text as text."""

    def __init__(self, *, stderr: bool = False) -> None:
        super().__init__(stderr=stderr, highlight=False, markup=False, emoji=False, soft_wrap=True)

    @property
    def size(self) -> ConsoleDimensions:
        """Its width and height, in characters."""
        return super().size if self.is_terminal else _ENDLESS

    @size.setter
    def size(self, new_size: tuple[int, int]) -> None:
        self._width, self._height = new_size

    def render_str(self, text: str, **options: Any) -> Text:
        """Text as it is laid out: escapes take their place in a line or a column."""
        return super().render_str(printable(text, keep="\n\t"), **options)

    def render(
        self, renderable: RenderableType, options: ConsoleOptions | None = None
    ) -> Iterable[Segment]:
        """What anything consists of; also a `Text` is made printable."""
        for segment in super().render(renderable, options):
            if segment.control or segment.text.isprintable():
                yield segment
            else:
                yield Segment(printable(segment.text, keep="\n"), segment.style)


#: Tables, progress and messages; stdout stays free for JSON and other answers.
err = _Console(stderr=True)
#: Answers that a person reads.
out = _Console()


def fail(message: str, hint: str | None = None, code: int = 1) -> NoReturn:
    """End the command with one line that says what is wrong, and what to do next.

    Args:
        message: What went wrong, without a trailing full stop.
        hint: What the person can do about it.
        code: The exit code; 1 for a refusal or failure, 2 for wrong usage.

    Raises:
        typer.Exit: Always.
    """
    text = f"blindgate: {message.rstrip('.')}. {hint}" if hint else f"blindgate: {message}"
    err.print(indented(text), style="red")
    raise typer.Exit(code)


def emit(text: str) -> None:
    """Print an answer for a program: unchanged, unless a terminal would interpret it."""
    typer.echo(printable(text, keep="\n") if sys.stdout.isatty() else text)


def emit_json(text: str) -> None:
    """Print JSON, which means the same for every program and steers no terminal."""
    typer.echo(printable_json(text))


def table(*headers: str, **options: Any) -> Table:
    """A table that wraps what does not fit and cuts nothing off."""
    made = Table(box=None, **options)
    for header in headers:
        made.add_column(header, overflow="fold")
    return made
