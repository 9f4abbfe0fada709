"""The command line as a person meets it: arguments in, an exit code and two texts out."""

from __future__ import annotations

import contextlib
import io
import sys
from dataclasses import dataclass
from unittest.mock import patch

from blindgate.cli import main


@dataclass(frozen=True)
class Done:
    """What a command did."""

    exit_code: int
    stdout: str
    stderr: str

    @property
    def output(self) -> str:
        """Everything that it printed."""
        return self.stdout + self.stderr


def run(*arguments: object, stdin: str = "") -> Done:
    """Run `blindgate` in this process, from its entry point on."""
    out, err = io.StringIO(), io.StringIO()
    words = ["blindgate", *map(str, arguments)]
    code: object = 0
    with (
        patch.object(sys, "argv", words),
        patch.object(sys, "stdin", io.StringIO(stdin)),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        try:
            main()
        except SystemExit as stop:
            code = stop.code
    assert isinstance(code, int)
    return Done(code, out.getvalue(), err.getvalue())
