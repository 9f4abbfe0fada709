"""`blindgate dev …`: the stand-ins for what only AWS has."""

from __future__ import annotations

import typer

from devstack.kms.command import kms

app = typer.Typer(
    help="Run Blindgate on one machine, without AWS.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
)
app.command("kms")(kms)
