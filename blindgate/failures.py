"""What a program says when it fails: one line and an exit code, never a traceback.

Every program of Blindgate ends its errors here: `blindgate`, `blindgate-gateway`, and those that
are started by `python -m`. The module imports nothing but the standard library, since it also
says which package is missing.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from typing import Any, Final, NoReturn

from blindgate.errors import BlindgateError
from blindgate.printable import printable

#: What installs packages that are missing: for the client's commands, and for the applications.
INSTALL_CLIENT: Final = "pip install 'blindgate[cli]'"
INSTALL_CHECKOUT: Final = "make install, in a checkout"
#: Set to anything, it shows the traceback instead of the line.
DEBUG_VARIABLE: Final = "BLINDGATE_DEBUG"
#: As a shell reports programs that SIGINT and SIGPIPE ended.
INTERRUPTED: Final = 130
BROKEN_PIPE: Final = 141
#: Parts of one error that are listed; a file with a thousand mistakes is one mistake.
_MAX_FAULTS: Final = 5
_DEBUG_HINT: Final = f"Set {DEBUG_VARIABLE}=1 for the traceback"


@contextlib.contextmanager
def one_line_errors(program: str, *, install: str = "", code: int = 1) -> Iterator[None]:
    """End the process with one line on standard error if the block fails.

    Args:
        program: Its name, which begins the line.
        install: What to do if a package is missing: `INSTALL_CLIENT` or `INSTALL_CHECKOUT`.
        code: The exit code of a failure.

    Raises:
        SystemExit: The block failed. With `BLINDGATE_DEBUG` its own error is raised.
    """
    try:
        yield
        # What is still buffered would otherwise fail after the end, with words of Python's own.
        if sys.stdout is not None:
            sys.stdout.flush()
    except KeyboardInterrupt:
        raise SystemExit(INTERRUPTED) from None
    except BrokenPipeError:
        _silence_stdout()
        raise SystemExit(BROKEN_PIPE) from None
    except Exception as error:
        if os.environ.get(DEBUG_VARIABLE):
            raise
        _end(program, describe(error, install=install), code)


def describe(error: BaseException, *, install: str = "") -> str:
    """What to tell a person about an error, without a trailing full stop.

    Args:
        error: What was raised.
        install: As for `one_line_errors`.
    """
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    match error:
        case BlindgateError():
            return str(error)
        case ModuleNotFoundError() if install:
            return f"this needs: {install} (no module {error.name})"
        case ImportError():
            return f"a package cannot be imported: {_first_line(error)}"
        case OSError():
            return describe_os_error(error)
        case MemoryError():
            return "there is not enough memory"
        case _ if (faults := faults_of(error)) is not None:
            return faults
        case UnicodeDecodeError():
            return f"this is not text in UTF-8: {_first_line(error)}"
        case ValueError():
            return f"{_first_line(error)}. {_DEBUG_HINT}"
    return f"unexpected {type(error).__name__}: {_first_line(error)}. {_DEBUG_HINT}"


def describe_os_error(error: OSError) -> str:
    """The file and what the system says of it."""
    said = error.strerror or _first_line(error)
    names = [os.fsdecode(name) for name in (error.filename,) if isinstance(name, str | bytes)]
    return ": ".join([*names, said])


def faults_of(error: BaseException) -> str | None:
    """What pydantic says of each field, without the values; None for any other error."""
    listed: Any = getattr(error, "errors", None)
    if type(error).__name__ != "ValidationError" or not callable(listed):
        return None
    faults = listed(include_url=False, include_input=False, include_context=False)
    said = [
        ": ".join(filter(None, (".".join(map(str, fault["loc"])), fault["msg"])))
        for fault in faults[:_MAX_FAULTS]
    ]
    more = len(faults) - len(said)
    return "; ".join(said) + (f"; and {more} more" if more else "")


def _first_line(error: BaseException) -> str:
    said = str(error).strip().splitlines()
    return said[0] if said else type(error).__name__


def _end(program: str, text: str, code: int) -> NoReturn:
    with contextlib.suppress(OSError):
        if sys.stderr is not None:
            sys.stderr.write(f"{program}: {indented(text)}\n")
            sys.stderr.flush()
    _silence_stdout()
    raise SystemExit(code) from None


def indented(text: str) -> str:
    """A message with its further lines indented, so that none can pass for a line of its own."""
    first, *others = printable(text, keep="\n").split("\n")
    return "\n".join([first, *(f"  {line.strip()}" for line in others)])


def _silence_stdout() -> None:
    """Nothing more can be written there, also not what is still in its buffer."""
    try:
        sys.stdout.flush()
    except (OSError, ValueError, AttributeError):
        with contextlib.suppress(OSError, ValueError, AttributeError):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, sys.stdout.fileno())
            os.close(nowhere)
