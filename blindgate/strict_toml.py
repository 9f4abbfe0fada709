"""Reading TOML files that somebody else may have written: within limits, or one error."""

from __future__ import annotations

import tomllib
from typing import Any, Final

from blindgate.errors import BlindgateError

#: `tomllib` takes quadratic time and memory for a dotted key of many parts, and a key is within
#: one line. No file of ours has more than a few dots in a line; a line of text may have some more.
MAX_DOTS: Final = 32


class TomlError(BlindgateError):
    """The bytes are not TOML that is read here. The message says which rule they break."""


def decode(data: bytes, *, max_bytes: int) -> dict[str, Any]:
    """Decode a TOML document (TOML 1.0.0).

    Args:
        data: The file's bytes.
        max_bytes: The longest file that is read.

    Raises:
        TomlError: Too long, not TOML, nested too deeply, or a number of thousands of digits.
    """
    if len(data) > max_bytes:
        raise TomlError(f"larger than {max_bytes} bytes")
    for number, line in enumerate(data.splitlines(), 1):
        if line.count(b".") > MAX_DOTS:
            raise TomlError(f"line {number} has more than {MAX_DOTS} dots")
    try:
        return tomllib.loads(data.decode())
    except RecursionError:
        raise TomlError("not TOML that can be read: it is nested too deeply") from None
    except ValueError as error:  # UnicodeDecodeError, TOMLDecodeError, and int() for long numbers
        raise TomlError(f"not TOML: {str(error)[:200]}") from None
