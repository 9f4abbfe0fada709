"""Print the entries of some packages from a lock, with their hashes.

    python deploy/pins.py locks/dev.txt hatchling > build.txt
    pip install --require-hashes -r build.txt

for build tools, whose own dependencies have no lock of their own. Packages that are named but not
in the lock are an error. Only the standard library: it runs before anything is installed.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

#: What building this project's wheel needs.
HATCHLING = ("hatchling", "packaging", "pathspec", "pluggy", "tomlkit", "trove-classifiers")


def entries(lock: str, names: tuple[str, ...]) -> str:
    """The lock's entries of these packages.

    Raises:
        KeyError: One is not in the lock.
    """
    found = {}
    for entry in re.split(r"^(?=[a-zA-Z0-9])", lock, flags=re.MULTILINE):
        if name := re.match(r"[A-Za-z0-9._-]+", entry):
            found[re.sub(r"[-_.]+", "-", name[0]).lower()] = entry
    return "".join(found[name] for name in names)


def main() -> None:
    """Print them."""
    if len(sys.argv) < 3:
        sys.exit("usage: pins.py LOCK PACKAGE…")
    names = tuple(sys.argv[2:])
    if names == ("hatchling",):
        names = HATCHLING
    try:
        print(entries(Path(sys.argv[1]).read_text(), names), end="")
    except KeyError as error:
        sys.exit(f"pins: {error} is not in {sys.argv[1]}")


if __name__ == "__main__":
    main()
