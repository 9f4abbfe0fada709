"""One enclave as a systemd service: start it, watch it, drain it, end it.

`blindgate-enclave@.service` runs this. nitro-cli itself only starts an enclave and returns, so a
unit of its own would neither notice that the enclave died nor wait for its requests to end.

    start   a leftover of the same name is terminated; run-enclave; READY once it is RUNNING
    watch   describe-enclaves every few seconds; gone, or in debug mode: exit 1, systemd restarts
    stop    (SIGTERM) drain over the link, wait until nothing is in hand, terminate-enclave

Source: aws/aws-nitro-enclaves-cli, README; sd_notify(3).
"""

from __future__ import annotations

import argparse
import contextlib
import json
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any, Final

from blindgate import strict_cbor
from blindgate.errors import BlindgateError
from blindgate.link import parse_address
from blindgate.link.addresses import Address
from blindgate.link.dial import dial
from blindgate.link.frames import (
    REQUEST_ID_BYTES,
    AnswerHeader,
    FrameLimits,
    FrameReader,
    Operation,
    Outcome,
    RequestHeader,
)

log = logging.getLogger("blindgate.enclave_unit")

#: Seconds that one call of nitro-cli may take; booting an image of 200 MB takes some ten.
_CLI_SECONDS: Final = 150.0
#: Seconds that a call over the link may take.
_LINK_SECONDS: Final = 5.0
_MAX_STATUS: Final = 64 * 1024


class UnitError(BlindgateError):
    """The enclave cannot be run."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What to run.

    Attributes:
        name: The enclave's name, by which it is found again.
        eif: Its image.
        cid: Its vsock address.
        cpus: Its vCPUs.
        memory: Its memory, in MiB.
        link: Where its worker listens.
    """

    name: str
    eif: Path
    cid: int
    cpus: int
    memory: int
    link: Address


class NitroCli:
    """nitro-cli, as far as one enclave needs it.

    Args:
        program: Its path.
    """

    def __init__(self, program: str) -> None:
        self._program = program

    def run(self, plan: Plan) -> None:
        """Start the enclave; never in debug mode, in which its parent reads its console."""
        self._call(
            "run-enclave",
            *("--enclave-name", plan.name, "--eif-path", str(plan.eif)),
            *("--enclave-cid", str(plan.cid)),
            *("--cpu-count", str(plan.cpus), "--memory", str(plan.memory)),
        )

    def find(self, name: str) -> dict[str, Any] | None:
        """What nitro-cli says about the enclave of this name, or None."""
        found = self._call("describe-enclaves")
        if not isinstance(found, list):
            raise UnitError("nitro-cli describe-enclaves printed no list")
        return next((each for each in found if each.get("EnclaveName") == name), None)

    def terminate(self, name: str) -> None:
        """End the enclave."""
        self._call("terminate-enclave", "--enclave-name", name)

    def _call(self, *arguments: str) -> Any:
        try:
            done = subprocess.run(
                [self._program, *arguments],
                capture_output=True,
                text=True,
                timeout=_CLI_SECONDS,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise UnitError(f"nitro-cli {arguments[0]}: {error}") from error
        if done.returncode:
            last = (done.stderr.strip() or done.stdout.strip()).splitlines()[:3]
            raise UnitError(f"nitro-cli {arguments[0]} failed: {' / '.join(last)}")
        # What it did goes to standard output as JSON, remarks go to standard error.
        try:
            return json.loads(done.stdout)
        except ValueError as error:
            raise UnitError(f"nitro-cli {arguments[0]} printed no JSON") from error


class Unit:
    """Runs one enclave until it is told to stop.

    Args:
        plan: What to run.
        cli: nitro-cli.
        period: Seconds between two looks.
        grace: Seconds that draining may take.
    """

    def __init__(self, plan: Plan, cli: NitroCli, period: float, grace: float) -> None:
        self._plan = plan
        self._cli = cli
        self._period = period
        self._grace = grace
        self._stopped = threading.Event()

    def stop(self, _signal: int = 0, _frame: FrameType | None = None) -> None:
        """Have `run` drain and end; a signal handler."""
        self._stopped.set()

    def run(self) -> None:
        """Start, watch, and when told to stop, drain and end.

        Raises:
            UnitError: The enclave does not start, or ended by itself.
        """
        plan = self._plan
        if self._cli.find(plan.name):
            log.warning("%s is there already: terminating it", plan.name)
            self._cli.terminate(plan.name)
        self._cli.run(plan)
        try:
            self._look()
            notify("READY=1")
            while not self._stopped.wait(self._period):
                self._look()
                notify("WATCHDOG=1")
        except UnitError:
            with contextlib.suppress(UnitError):
                self._cli.terminate(plan.name)
            raise
        notify("STOPPING=1")
        drain(plan.link, self._grace)
        self._cli.terminate(plan.name)

    def _look(self) -> None:
        found = self._cli.find(self._plan.name)
        if found is None:
            raise UnitError(f"{self._plan.name} has ended")
        if found.get("State") != "RUNNING":
            raise UnitError(f"{self._plan.name} is {found.get('State')}")
        if found.get("Flags") != "NONE":
            raise UnitError(f"{self._plan.name} has the flags {found.get('Flags')}: not ours")


def drain(address: Address, grace: float) -> None:
    """Have the worker finish what it has: the gateway sees that it drains and stops sending.

    Args:
        address: Where the worker listens.
        grace: Seconds to wait for it.
    """
    ends = time.monotonic() + grace
    try:
        with contextlib.closing(dial(address, _LINK_SECONDS)) as sock:
            sock.settimeout(_LINK_SECONDS)
            _ask(sock, Operation.DRAIN)
            while time.monotonic() < ends:
                status = strict_cbor.decode(
                    _ask(sock, Operation.STATUS), max_bytes=_MAX_STATUS, max_depth=4
                )
                if not isinstance(status, dict) or not _in_hand(status):
                    return
                time.sleep(0.1)
        log.warning("giving up what is still in hand")
    except (OSError, KeyError, BlindgateError) as error:
        log.warning("cannot drain: %s", error)


def _in_hand(status: dict[str, Any]) -> bool:
    """Whether a worker still has requests: those that it opens, computes, seals and sends."""
    if "in_hand" in status:
        return bool(status["in_hand"])
    return bool(status["busy"] or status["queued"])  # a worker of an earlier version


def _ask(sock: socket.socket, operation: Operation) -> bytes:
    request = RequestHeader(operation, os.urandom(REQUEST_ID_BYTES), int(_LINK_SECONDS * 1000))
    sock.sendall(request.encode())
    reader = FrameReader(AnswerHeader, FrameLimits(_MAX_STATUS))
    header: AnswerHeader | None = None
    while True:
        event = reader.received(sock.recv_into(reader.buffer()))
        if isinstance(event, AnswerHeader):
            if event.outcome is not Outcome.OK:
                raise UnitError(f"{operation} was answered {event.outcome}")
            header = event
        elif event is not None:
            return bytes(event)
        if header is not None and not header.body_length:
            return b""


def notify(state: str) -> None:
    """Tell systemd (sd_notify(3)); nothing where no systemd listens."""
    path = os.environ.get("NOTIFY_SOCKET")
    if not path:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        # An address that begins with @ is in Linux's abstract namespace.
        sock.sendto(state.encode(), path.replace("@", "\0", 1) if path[0] == "@" else path)


def main() -> None:
    """Run one enclave."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--name", required=True)
    parser.add_argument("--eif", type=Path, required=True)
    parser.add_argument("--cid", type=int, required=True)
    parser.add_argument("--cpus", type=int, required=True)
    parser.add_argument("--memory", type=int, required=True, metavar="MIB")
    parser.add_argument("--link", default="", help="the worker; vsock://CID:5005 if left out")
    parser.add_argument("--nitro-cli", default="/usr/bin/nitro-cli")
    parser.add_argument("--period", type=float, default=5.0, help="seconds between two looks")
    parser.add_argument("--grace", type=float, default=30.0, help="seconds to drain")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    link = parse_address(arguments.link or f"vsock://{arguments.cid}:5005")
    plan = Plan(
        arguments.name, arguments.eif, arguments.cid, arguments.cpus, arguments.memory, link
    )
    unit = Unit(plan, NitroCli(arguments.nitro_cli), arguments.period, arguments.grace)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, unit.stop)
    try:
        unit.run()
    except BlindgateError as error:
        sys.exit(f"enclave_unit: {error}")


if __name__ == "__main__":
    main()
