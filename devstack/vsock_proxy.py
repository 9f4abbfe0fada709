"""A stand-in for vsock-proxy: the enclave's only way out, to allow-listed addresses only.

Takes the same YAML allow-list and keeps the same habits as the original: a fixed number of
workers (4 by default) serve a connection each, further connections wait in silence, and an idle
connection is never closed. It listens on a Unix socket, since an ordinary kernel has no vsock
device, and `--connect-to` says where a stand-in for the remote host really is.

Source: aws/aws-nitro-enclaves-cli, vsock_proxy/README.md.

Example:
    python -m devstack.vsock_proxy -w 32 --config allow.yaml unix:///run/kms.sock \
        kms.us-east-1.amazonaws.com 443 --connect-to 127.0.0.1:8443
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from blindgate.errors import BlindgateError
from blindgate.failures import INSTALL_CHECKOUT, one_line_errors
from blindgate.link import parse_address
from blindgate.link.dial import listen

log = logging.getLogger("devstack.vsock_proxy")

_CHUNK: Final = 64 * 1024


class AllowlistError(BlindgateError):
    """The allow-list cannot be read, or does not hold the remote address."""


@dataclass(frozen=True, slots=True)
class Remote:
    """A host and port that connections are forwarded to."""

    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> Remote:
        """Read `host:port`.

        Raises:
            ValueError: The text is something else.
        """
        host, separator, port = text.rpartition(":")
        if not (separator and host and port.isdigit() and int(port) < 65_536):
            raise ValueError(f"{text!r} is not host:port")
        return cls(host, int(port))


def read_allowlist(path: Path) -> frozenset[Remote]:
    """Read vsock-proxy's YAML: `allowlist:` with a list of `{address, port}`.

    Raises:
        AllowlistError: The file is missing or of another shape.
    """
    import yaml

    try:
        content = yaml.safe_load(path.read_text())
        return frozenset(
            Remote(str(entry["address"]), int(entry["port"])) for entry in content["allowlist"]
        )
    except (OSError, yaml.YAMLError, KeyError, TypeError, ValueError) as error:
        raise AllowlistError(
            f"{path} is no allow-list: write `allowlist:`, under it `- {{address: …, port: …}}`"
        ) from error


class Proxy:
    """Forwards each accepted connection to one remote address.

    Args:
        remote: Where connections go.
        workers: How many are forwarded at once; the others wait.
    """

    def __init__(self, remote: Remote, workers: int) -> None:
        self._remote = remote
        self._workers = asyncio.Semaphore(workers)

    async def forward(self, near: asyncio.StreamReader, back: asyncio.StreamWriter) -> None:
        """Forward one connection until either side closes it."""
        async with self._workers:
            try:
                far, out = await asyncio.open_connection(self._remote.host, self._remote.port)
            except OSError as error:
                log.warning("cannot reach %s: %s", self._remote.host, error.strerror or error)
                back.close()
                return
            await asyncio.gather(_copy(near, out), _copy(far, back))


async def _copy(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await source.read(_CHUNK):
            target.write(data)
            await target.drain()
    with contextlib.suppress(OSError):
        target.close()
        await target.wait_closed()


async def _serve(arguments: argparse.Namespace, remote: Remote) -> None:
    proxy = Proxy(remote, arguments.workers)
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    server = await asyncio.start_unix_server(
        proxy.forward, sock=listen(parse_address(arguments.listen))
    )
    log.info("forwarding %s to %s port %d", arguments.listen, arguments.host, arguments.port)
    async with server:
        await stopped.wait()


def main() -> None:
    """Run the proxy until it is told to stop."""
    parser = argparse.ArgumentParser(prog="devstack.vsock_proxy", description=__doc__)
    parser.add_argument("-w", "--workers", type=int, default=4, metavar="N")
    parser.add_argument("--config", type=Path, required=True, metavar="FILE")
    parser.add_argument("--connect-to", type=Remote.parse, metavar="HOST:PORT")
    parser.add_argument("listen", help="unix:///path in place of vsock-proxy's local port")
    parser.add_argument("host")
    parser.add_argument("port", type=int)
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    wanted = Remote(arguments.host, arguments.port)
    with one_line_errors("vsock-proxy", install=INSTALL_CHECKOUT):
        if wanted not in read_allowlist(arguments.config):
            raise AllowlistError(f"{wanted.host} port {wanted.port} is not in the allow-list")
        asyncio.run(_serve(arguments, arguments.connect_to or wanted))


if __name__ == "__main__":
    main()
