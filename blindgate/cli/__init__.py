"""The `blindgate` command.

Only the standard library is imported here, so that a missing package is one line and no
traceback. The commands are in `blindgate.cli.commands`.
"""

from __future__ import annotations

import sys
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Final

from blindgate.errors import BlindgateError
from blindgate.failures import INSTALL_CHECKOUT, INSTALL_CLIENT, one_line_errors

if TYPE_CHECKING:
    from blindgate.cli.commands import app

__all__ = ["COMMAND_GROUP", "CheckoutCommand", "app", "main"]

#: The entry points by which other packages add commands.
COMMAND_GROUP: Final = "blindgate.commands"
#: Commands of the applications, which are part of a checkout and not of the client's wheel.
_CHECKOUT_COMMANDS: Final = frozenset({"audit", "dev", "doctor", "image", "keys", "models"})


class CheckoutCommand(BlindgateError):
    """A command whose package is not part of this installation."""

    def __init__(self, command: str) -> None:
        super().__init__(
            f"`{command}` is not part of the installed package: run it in a checkout of Blindgate, "
            "after make install"
        )


def __getattr__(name: str) -> object:
    """`app`, loaded when it is asked for."""
    if name == "app":
        from blindgate.cli.commands import app

        return app
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def main() -> None:
    """Run the command line; the console script's entry point."""
    command = next((each for each in sys.argv[1:] if not each.startswith("-")), None)
    of_a_checkout = command in _CHECKOUT_COMMANDS
    install = INSTALL_CHECKOUT if of_a_checkout else INSTALL_CLIENT
    with one_line_errors("blindgate", install=install):
        # Before anything that needs packages: those alone would not give the command.
        if command and of_a_checkout and not entry_points(group=COMMAND_GROUP, name=command):
            raise CheckoutCommand(command)
        from blindgate.cli.commands import run

        raise SystemExit(run(command))
