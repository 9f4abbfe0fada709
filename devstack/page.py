"""The gateway's console: built before a stack starts, where it is missing and can be built."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Final

from enclave_image.closure import ROOT

#: The page's first file; this package does not import the gateway's.
PAGE: Final = "gateway/console/dist/served/index.html"
#: The oldest Node that the page's build tools take.
NODE: Final = (20, 19)
#: Fetching and building takes a quarter of a minute; a registry that stalls ends here.
_BUILD_SECONDS: Final = 300.0


def prepare_page(said: Callable[[str], None], *, root: Path = ROOT) -> None:
    """Build the page if it is not there; without it everything but the page works.

    Args:
        said: Told in one line what is built, or why there will be no page.
        root: The folder that holds the packages: a checkout, or its copy in a container.
    """
    if (root / PAGE).is_file():
        return
    if not (root / "Makefile").is_file():
        said("no console: this installation holds none; `make assets` in a checkout builds it")
        return
    if (missing := _missing()) is not None:
        said(f"no console: building it takes {missing}; everything else runs without")
        return
    said("building the console with npm, once")
    try:
        done = subprocess.run(
            ["make", "--no-print-directory", "assets"],
            cwd=root,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            check=False,
            timeout=_BUILD_SECONDS,
        )
    except subprocess.TimeoutExpired:
        said(f"no console: `make assets` took more than {_BUILD_SECONDS:.0f} s")
        return
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if not line.startswith("make")]
        why = next((line.strip() for line in lines if line.strip()), f"exit {done.returncode}")
        said(f"no console: `make assets` failed: {why}")


def _missing() -> str | None:
    """What a build needs and is not there."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        return "Node {}.{} or newer with npm".format(*NODE)
    if shutil.which("make") is None:
        return "make"
    done = subprocess.run(["node", "--version"], capture_output=True, text=True, check=False)
    found = re.match(r"v(\d+)\.(\d+)", done.stdout)
    if found is None or (int(found[1]), int(found[2])) < NODE:
        return "Node {}.{} or newer, and this is {}".format(*NODE, done.stdout.strip() or "none")
    return None
