"""`python -m gateway.console`: write the page as one file; see `make console`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from blindgate.attestation import AWS_NITRO_ROOT, PcrSet, Root, Trust
from blindgate.errors import BlindgateError
from gateway.console.assets import STANDALONE
from gateway.console.standalone import complete
from gateway.settings import Settings


def main(arguments: list[str] | None = None) -> None:
    """Read the arguments and write the file."""
    parser = argparse.ArgumentParser("python -m gateway.console", description=__doc__)
    parser.add_argument("--gateway", required=True, help="its origin: https://gateway.example")
    parser.add_argument("--pcrs", required=True, type=Path, nargs="+", help="measurements, JSON")
    parser.add_argument("--root", type=Path, help="another root than AWS's, PEM; development only")
    limit = Settings.model_fields["max_body"].default
    parser.add_argument("--max-body", type=int, default=limit, help="the gateway's own setting")
    parser.add_argument("--output", type=Path, default=Path("out/console.html"))
    given = parser.parse_args(arguments)
    try:
        root = Root.from_pem(given.root.read_bytes()) if given.root else AWS_NITRO_ROOT
        trust = Trust(root, tuple(map(PcrSet.from_file, given.pcrs)))
        page = complete(
            STANDALONE.read_text(encoding="utf-8"),
            trust=trust,
            gateway=given.gateway,
            max_body=given.max_body,
        )
        given.output.parent.mkdir(parents=True, exist_ok=True)
        given.output.write_text(page, encoding="utf-8")
    except (BlindgateError, OSError) as error:
        print(f"make console: {error}", file=sys.stderr)
        raise SystemExit(2) from None
    print(f"{given.output}: {len(page):,} bytes, for {given.gateway}")


if __name__ == "__main__":
    main()
