"""All commands in one application.

The commands of the shared package are registered here. Those of the packages above it (the dev
stack, the model tools, …) register through the entry-point group `blindgate.commands`, so that
`blindgate` imports none of them.
"""

from __future__ import annotations

import contextlib
import io
import sys
from importlib.metadata import EntryPoint, entry_points
from typing import Annotated

import typer
from typer.exceptions import TyperException

import blindgate
from blindgate.cli import COMMAND_GROUP, CheckoutCommand
from blindgate.cli.console import err
from blindgate.cli.detect import detect
from blindgate.cli.encrypt import encrypt
from blindgate.cli.policy import policy
from blindgate.cli.verify import verify
from blindgate.failures import indented

app = typer.Typer(
    name="blindgate",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
)
app.command("detect")(detect)
app.command("encrypt")(encrypt)
app.add_typer(policy, name="policy")
app.command("verify")(verify)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"blindgate {blindgate.__version__}")
        raise typer.Exit


@app.callback()
def _blindgate(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    """Confidential image inference: encrypt, verify, detect."""


def run(command: str | None) -> int:
    """Run the command line of this process.

    Args:
        command: The command's name, if one is given: only its package is loaded then.

    Returns:
        The exit code.
    """
    for stream in (sys.stdout, sys.stderr):
        # A terminal that cannot show a character gets an escape instead of an error.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    add_plugins(command)
    try:
        code = app(standalone_mode=False, prog_name="blindgate")
    except typer.Abort:
        return 1
    except TyperException as error:
        return _misused(error)
    return code if isinstance(code, int) else 0


def add_plugins(command: str | None = None) -> None:
    """Add the commands of other packages: one by its name, or all that can be loaded."""
    plugins = {plugin.name: plugin for plugin in entry_points(group=COMMAND_GROUP)}
    for name in [command] if command else sorted(plugins):
        if name not in plugins:
            continue
        # The list of all commands omits those that lack a package.
        lacking = (ImportError, CheckoutCommand) if not command else ()
        with contextlib.suppress(*lacking):
            app.add_typer(_load(plugins[name]), name=name)


def _load(plugin: EntryPoint) -> typer.Typer:
    """The commands of an entry point.

    Raises:
        CheckoutCommand: Its package is not installed: a release holds the gateway's only.
        ModuleNotFoundError: A package that its package needs is not installed.
    """
    try:
        commands: typer.Typer = plugin.load()
    except ModuleNotFoundError as error:
        if error.name == plugin.module.partition(".")[0]:
            raise CheckoutCommand(plugin.name) from None
        raise
    return commands


def _misused(error: TyperException) -> int:
    """Print what is wrong with the arguments, or the help if there were none."""
    context = getattr(error, "ctx", None)
    if type(error).__name__ == "NoArgsIsHelpError" and context is not None:
        typer.echo(context.get_help())
        return error.exit_code
    text = f"blindgate: {error.format_message().rstrip('.')}"
    if context is not None:
        text += f". See: {context.command_path} --help"
    err.print(indented(text), style="red")
    return error.exit_code
