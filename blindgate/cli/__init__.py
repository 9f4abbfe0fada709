"""The `blindgate` command.

The commands of the shared package are registered here. Commands of the packages above it
(the dev stack, the model tools, …) hang themselves in through the entry-point group
`blindgate.commands`, so that `blindgate` imports none of them.
"""

from __future__ import annotations

from importlib.metadata import entry_points

import typer

from blindgate.cli.console import fail
from blindgate.cli.policy import policy
from blindgate.cli.verify import verify
from blindgate.errors import BlindgateError

app = typer.Typer(
    name="blindgate",
    help="Confidential image inference: encrypt, verify, detect.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
)
app.add_typer(policy, name="policy")
app.command("verify")(verify)


def main() -> None:
    """Run the command line; the console script's entry point."""
    for plugin in entry_points(group="blindgate.commands"):
        app.add_typer(plugin.load(), name=plugin.name)
    try:
        app()
    except BlindgateError as error:
        try:
            fail(str(error))
        except typer.Exit as stop:
            raise SystemExit(stop.exit_code) from None
