"""How long steps show that they move."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterator


class Progress(Protocol):
    """Is told what is being done, and how far it is."""

    def __call__(self, step: str, done: int, total: int) -> None:
        """Take note.

        Args:
            step: What is being done, in the progressive: "downloading …".
            done: How much of it is, in whatever unit `total` has.
            total: The total amount; 0 if it is unknown.
        """


def silent(step: str, done: int, total: int) -> None:
    """Show nothing."""


@contextmanager
def bar() -> Iterator[Progress]:
    """A progress bar for each step on standard error; a line each where that is no terminal."""
    from rich.progress import BarColumn, TaskProgressColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as RichProgress

    from blindgate.cli.console import err

    if not err.is_terminal:
        started: set[str] = set()

        def name(step: str, done: int, total: int) -> None:  # noqa: ARG001
            if step not in started:
                started.add(step)
                err.print(step)

        yield name
        return
    shown = RichProgress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TaskProgressColumn(),
        TimeElapsedColumn(),
        console=err,
    )
    tasks = {}

    def show(step: str, done: int, total: int) -> None:
        if step not in tasks:
            tasks[step] = shown.add_task(step, total=total or None)
        shown.update(tasks[step], completed=done, total=total or None)

    with shown:
        yield show
