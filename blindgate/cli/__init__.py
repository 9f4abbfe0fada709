"""The `blindgate` command.

The commands of the shared package are registered here. Commands of the packages above it
(the dev stack, the model tools, …) hang themselves in through the entry-point group
`blindgate.commands`, so that `blindgate` imports none of them.
"""

from __future__ import annotations

import sys
from importlib.metadata import entry_points

import typer

from blindgate.cli.console import fail
from blindgate.cli.detect import detect
from blindgate.cli.encrypt import encrypt
from blindgate.cli.image import image
from blindgate.cli.policy import policy
from blindgate.cli.verify import verify
from blindgate.errors import BlindgateError


class NotInstalled(BlindgateError):
    """A command needs packages of an extra that was not installed."""


app = typer.Typer(
    name="blindgate",
    help="Confidential image inference: encrypt, verify, detect.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
)
app.command("detect")(detect)
app.command("encrypt")(encrypt)
app.add_typer(image, name="image")
app.add_typer(policy, name="policy")
app.command("verify")(verify)


def main() -> None:
    """Run the command line; the console script's entry point."""
    asked = next((each for each in sys.argv[1:] if not each.startswith("-")), None)
    try:
        _add_plugins(asked)
        app()
    except BlindgateError as error:
        try:
            fail(str(error))
        except typer.Exit as stop:
            raise SystemExit(stop.exit_code) from None


def _add_plugins(asked: str | None) -> None:
    """Add the commands of other packages: the one that is asked for, or all of them for help."""
    plugins = {plugin.name: plugin for plugin in entry_points(group="blindgate.commands")}
    for name in [asked] if asked else sorted(plugins):
        if name not in plugins:
            continue
        try:
            app.add_typer(plugins[name].load(), name=name)
        except ImportError as error:
            if asked:
                raise NotInstalled(
                    f"`blindgate {name}` needs the package {error.name}, which is not installed. "
                    "Install it with: pip install 'blindgate[dev]'"
                ) from error
