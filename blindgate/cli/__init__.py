"""The `blindgate` command.

Only the standard library is imported here, so that a missing package is one line and no
traceback. The commands are in `blindgate.cli.commands`.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Final

from blindgate.failures import one_line_errors

if TYPE_CHECKING:
    from blindgate.cli.commands import app

__all__ = ["app", "main"]

#: What the commands need that are not part of `blindgate[cli]`.
_EXTRAS: Final = {"audit": "cli,gateway", "dev": "stack", "keys": "cli,gateway", "models": "models"}


def __getattr__(name: str) -> object:
    """`app`, loaded when it is asked for."""
    if name == "app":
        from blindgate.cli.commands import app

        return app
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def main() -> None:
    """Run the command line; the console script's entry point."""
    command = next((each for each in sys.argv[1:] if not each.startswith("-")), None)
    with one_line_errors("blindgate", extra=_EXTRAS.get(command or "", "cli")):
        from blindgate.cli.commands import run

        raise SystemExit(run(command))
