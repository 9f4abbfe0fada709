"""`python -m devstack.nsm`: a dev NSM at a Unix socket."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from blindgate.attestation import PcrSet
from blindgate.errors import BlindgateError
from blindgate.failures import one_line_errors
from blindgate.link.addresses import UnixAddress
from devstack.nsm.protocol import DevNsm
from devstack.nsm.root import DevRoot
from devstack.nsm.server import NsmServer

if TYPE_CHECKING:
    from types import FrameType


def main(arguments: list[str] | None = None) -> int:
    """Run until SIGINT or SIGTERM; 1 if it could not begin."""
    options = _parser().parse_args(arguments)
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        nsm = DevNsm(
            DevRoot.load_or_create(options.root_dir),
            options.module_id or f"i-0{os.urandom(8).hex()}-enc{os.urandom(8).hex()}",
            PcrSet.from_file(options.pcrs, allow_debug=options.debug_mode).values,
            role_arn=options.role_arn,
            region=options.region,
            debug_mode=options.debug_mode,
        )
        server = NsmServer(nsm, UnixAddress(str(options.socket.absolute())))
        # Only now, so that who reads this line can connect.
        sys.stderr.write(f"dev NSM {nsm.module_id} at {options.socket}\n")
        sys.stderr.flush()
        try:
            server.serve_forever()
        finally:
            server.close()
    except (BlindgateError, ValueError) as error:
        sys.stderr.write(f"devstack.nsm: {error}\n")
        return 1
    except KeyboardInterrupt:
        return 0
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m devstack.nsm",
        description="A Nitro Secure Module for development, under a root of its own.",
    )
    parser.add_argument("--socket", type=Path, required=True, help="the Unix socket to listen at")
    parser.add_argument(
        "--root-dir", type=Path, required=True, help="where the dev root is kept, or made"
    )
    parser.add_argument(
        "--pcrs", type=Path, required=True, help="measurements as nitro-cli prints them"
    )
    parser.add_argument("--module-id", help="default: a random one")
    parser.add_argument("--region", default="us-east-1")
    parser.add_argument(
        "--role-arn",
        default="arn:aws:iam::111122223333:role/blindgate-parent",
        help="the parent's role, measured in PCR3",
    )
    parser.add_argument("--debug-mode", action="store_true", help="boot with zero PCR0, 1 and 2")
    return parser


def _interrupt(_signal: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    with one_line_errors("devstack.nsm"):
        sys.exit(main())
