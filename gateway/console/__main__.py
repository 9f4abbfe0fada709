"""`python -m gateway.console`: write the page as one file; see `make console`."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from blindgate.atomic_files import write_file
from blindgate.attestation import AWS_NITRO_ROOT, PcrSet, Root, Trust
from blindgate.errors import BlindgateError
from blindgate.failures import INSTALL_CHECKOUT, one_line_errors


class NotWritten(BlindgateError):
    """The page would replace something that it must not."""


def main(arguments: list[str] | None = None) -> None:
    """Read the arguments and write the file."""
    with one_line_errors("make console", install=INSTALL_CHECKOUT, code=2):
        _write(arguments)


def _write(arguments: list[str] | None) -> None:
    from gateway.console.assets import STANDALONE
    from gateway.console.standalone import complete
    from gateway.settings import Settings

    parser = argparse.ArgumentParser("python -m gateway.console", description=__doc__)
    parser.add_argument("--gateway", required=True, help="its origin: https://gateway.example")
    parser.add_argument("--pcrs", required=True, type=Path, nargs="+", help="measurements, JSON")
    parser.add_argument("--root", type=Path, help="another root than AWS's, PEM; development only")
    limit = Settings.model_fields["max_body"].default
    parser.add_argument("--max-body", type=int, default=limit, help="the gateway's own setting")
    parser.add_argument("--output", type=Path, default=Path("out/console.html"))
    parser.add_argument("--force", action="store_true", help="replace a file that is there")
    given = parser.parse_args(arguments)
    inputs = [*given.pcrs, *filter(None, [given.root])]
    if os.path.realpath(given.output) in map(os.path.realpath, inputs):
        raise NotWritten(f"{given.output} is what the page is made from; it is not overwritten")
    if os.path.lexists(given.output) and not given.force:
        raise NotWritten(f"{given.output} exists already; --force replaces it")
    root = Root.from_file(given.root) if given.root else AWS_NITRO_ROOT
    page = complete(
        STANDALONE.read_text(encoding="utf-8"),
        trust=Trust(root, tuple(map(PcrSet.from_file, given.pcrs))),
        gateway=given.gateway,
        max_body=given.max_body,
    )
    write_file(given.output, page.encode())
    print(f"{given.output}: {len(page):,} bytes, for {given.gateway}")


if __name__ == "__main__":
    main()
