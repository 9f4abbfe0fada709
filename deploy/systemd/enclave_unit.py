"""One enclave as a systemd service: start it, watch it, restart it, drain it, end it.

`blindgate-enclave@.service` runs this. nitro-cli itself only starts an enclave and returns, so a
unit that called it directly would neither notice that the enclave died nor wait for its requests.

    start    terminate a leftover of the same name; run-enclave, one start on a host at a time;
             wait until the worker answers; READY
    watch    ask the worker for its status every few seconds, and nitro-cli less often
    restart  the enclave ended, or its worker stopped answering: terminate it and start again,
             inside this process, so that only starts that fail count for systemd's start limit
    stop     (SIGTERM) drain over the link, wait until nothing is in flight, terminate-enclave

Two facts about nitro-cli shape this (aws/aws-nitro-enclaves-cli 1.5.0). `describe-enclaves` prints
the enclaves that answered and then fails (E39) while any other one is ending, so its output counts
even if it fails, and a failure says nothing about ours. And it reports RUNNING for an enclave whose
kernel halted, so only the worker itself can say that it serves.

Source: aws/aws-nitro-enclaves-cli, README, `src/enclave_proc_comm.rs` and
`src/enclave_proc/resource_manager.rs`; sd_notify(3).
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import logging
import os
import platform
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any, Final

from blindgate.errors import BlindgateError
from blindgate.link import Operation, Outcome, parse_address
from blindgate.link.addresses import Address
from blindgate.link.blocking import RefusedByWorker, request, request_status
from blindgate.link.dial import dial
from blindgate.nitro_cli import described_enclaves
from blindgate.stop_flag import StopFlag

log = logging.getLogger("blindgate.enclave_unit")

#: nitro-cli asks one local process for each enclave and answers within a second.
_DESCRIBE_SECONDS: Final = 30.0
#: Ending an enclave returns its memory to the parent, huge page by huge page.
_TERMINATE_SECONDS: Final = 30.0
#: nitro-cli waits this long for a boot, for each started `_BOOT_EIF_BYTES` of the image and again
#: for each started `_BOOT_MEMORY_MIB` (`calculate_necessary_timeout`), and then explains with E36
#: what went wrong. We wait longer than that, so that the explanation reaches the journal.
_BOOT_SECONDS: Final = 90.0
_BOOT_EIF_BYTES: Final = 6 * 1024**3
_BOOT_MEMORY_MIB: Final = 100 * 1024
#: How an image begins: magic, version, flags (aws-nitro-enclaves-image-format `src/defs/mod.rs`).
_EIF_HEADER: Final = struct.Struct(">4sHH")
_EIF_MAGIC: Final = b".eif"
_EIF_ARM64: Final = 1
_BOOT_MARGIN_SECONDS: Final = 60.0
#: Seconds that a call over the link may take: a worker that decodes a large image answers late.
_LINK_SECONDS: Final = 10.0
#: Consecutive failures before a worker counts as dead, or before giving up on nitro-cli at the
#: start. One failure is a busy worker, or another enclave that is ending.
_TRIES: Final = 3
#: While the worker answers, nitro-cli is asked at every third look only: it logs each call.
_LOOKS_PER_DESCRIBE: Final = 3
#: Seconds between two steps of a wait; systemd's watchdog hears from us at each.
_STEP_SECONDS: Final = 1.0
#: Seconds to wait for room in systemd's queue of notifications.
_NOTIFY_SECONDS: Final = 5.0
#: Seconds by which each step of a long start extends systemd's TimeoutStartSec.
_EXTENSION_SECONDS: Final = 30


class UnitError(BlindgateError):
    """The enclave cannot be run."""


class QueryFailed(UnitError):
    """nitro-cli could not say which enclaves there are. This says nothing about ours.

    Attributes:
        listed: Whether it printed those that answered, and ours was not among them.
    """

    def __init__(self, reason: str, *, listed: bool = False) -> None:
        super().__init__(reason)
        self.listed = listed


class EnclaveLost(UnitError):
    """The enclave ended, or is not one that may go on."""


class _Stopped(Exception):
    """SIGTERM arrived while the enclave was being started."""


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


@dataclass(frozen=True, slots=True)
class Pace:
    """How often to look and how long to wait, in seconds.

    Attributes:
        period: Between two looks at the worker.
        serve: From the end of run-enclave until the worker must answer.
        pause: Between the end of an enclave and its restart.
        grace: For draining.
    """

    period: float = 5.0
    serve: float = 120.0
    pause: float = 3.0
    grace: float = 30.0


def check_architecture(eif: Path, machine: str) -> None:
    """Refuse an image for the other architecture before nitro-cli takes memory for it.

    A file that is no image is left to nitro-cli.

    Args:
        eif: The image.
        machine: As `uname -m` says it.

    Raises:
        UnitError: It is for another processor; the message says what to do.
        OSError: The file cannot be read.
    """
    with eif.open("rb") as file:
        header = file.read(_EIF_HEADER.size)
    if len(header) < _EIF_HEADER.size or not header.startswith(_EIF_MAGIC):
        return
    _, _, flags = _EIF_HEADER.unpack(header)
    wanted = "aarch64" if flags & _EIF_ARM64 else "x86_64"
    if wanted != machine:
        ours = "arm64" if machine == "aarch64" else machine
        raise UnitError(
            f"{eif} is for {wanted} and this instance is {machine}: build it with "
            f"`blindgate image build --architecture {ours}`, or take another instance type"
        )


def boot_seconds(eif_bytes: int, memory_mib: int) -> float:
    """How long `run-enclave` may take: nitro-cli's own limit and a margin.

    Args:
        eif_bytes: Size of the image.
        memory_mib: The enclave's memory.
    """
    shares = -(-max(eif_bytes, 1) // _BOOT_EIF_BYTES) + -(-max(memory_mib, 1) // _BOOT_MEMORY_MIB)
    return _BOOT_SECONDS * shares + _BOOT_MARGIN_SECONDS


class NitroCli:
    """nitro-cli, as far as one enclave needs it.

    Args:
        program: Its path.
        lock: A file that every slot of this host locks while it starts an enclave: all boots
            share vsock port 9000 of the parent, and the second of two fails (E36).
        wait: Called at each step of a wait; may raise, which ends the call of nitro-cli.
    """

    def __init__(self, program: str, lock: Path, wait: Callable[[], None]) -> None:
        self._program = program
        self._lock = lock
        self._wait = wait

    def run(self, plan: Plan) -> None:
        """Start the enclave; never in debug mode, in which its parent reads its console.

        Raises:
            UnitError: It does not start.
        """
        try:
            check_architecture(plan.eif, platform.machine())
            seconds = boot_seconds(plan.eif.stat().st_size, plan.memory)
        except OSError as error:
            raise UnitError(f"{plan.eif}: {error.strerror}") from None
        with self._only_start():
            done = self._call(
                seconds,
                "run-enclave",
                *("--enclave-name", plan.name, "--eif-path", str(plan.eif)),
                *("--enclave-cid", str(plan.cid)),
                *("--cpu-count", str(plan.cpus), "--memory", str(plan.memory)),
            )
        if done.returncode:
            raise UnitError(_explain("run-enclave", done))

    def find(self, name: str) -> dict[str, Any] | None:
        """What nitro-cli says about the enclave of this name, or None if there is none.

        Raises:
            QueryFailed: It did not say. It also fails while *another* enclave is ending; then
                its output still tells about ours.
        """
        done = self._call(_DESCRIBE_SECONDS, "describe-enclaves")
        found = described_enclaves(done.stdout)
        for each in found or ():
            if each.get("EnclaveName") == name:
                return each
        if done.returncode:
            raise QueryFailed(_explain("describe-enclaves", done), listed=found is not None)
        if found is None:
            raise QueryFailed("nitro-cli describe-enclaves printed no list")
        return None

    def terminate(self, name: str) -> None:
        """End the enclave.

        Raises:
            UnitError: nitro-cli fails.
        """
        done = self._call(_TERMINATE_SECONDS, "terminate-enclave", "--enclave-name", name)
        if done.returncode:
            raise UnitError(_explain("terminate-enclave", done))

    @contextlib.contextmanager
    def _only_start(self) -> Iterator[None]:
        try:
            descriptor = os.open(self._lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise UnitError(f"{self._lock}: {error.strerror}") from None
        try:
            while True:
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:  # the other slot boots; its end releases the lock
                    self._wait()
                    time.sleep(_STEP_SECONDS / 5)
            yield
        finally:
            os.close(descriptor)

    def _call(self, seconds: float, *arguments: str) -> subprocess.CompletedProcess[str]:
        ends = time.monotonic() + seconds
        try:
            process = subprocess.Popen(
                [self._program, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                errors="replace",
            )
        except OSError as error:
            raise QueryFailed(f"nitro-cli {arguments[0]}: {error}") from error
        with process:
            try:
                while True:
                    self._wait()
                    step = min(_STEP_SECONDS, max(ends - time.monotonic(), 0.0))
                    with contextlib.suppress(subprocess.TimeoutExpired):
                        out, errors = process.communicate(timeout=step)
                        return subprocess.CompletedProcess(
                            arguments, process.returncode, out, errors
                        )
                    if time.monotonic() >= ends:
                        raise QueryFailed(
                            f"nitro-cli {arguments[0]} did not end within {seconds:.0f} seconds"
                        )
            finally:
                if process.returncode is None:
                    process.kill()


def _explain(command: str, done: subprocess.CompletedProcess[str]) -> str:
    last = (done.stderr.strip() or done.stdout.strip()).splitlines()[:3]
    reason = " / ".join(last) or f"exit status {done.returncode}"
    return f"nitro-cli {command} failed: {reason}"


#: Answers to `status` that show a worker at work, if not its status.
_ALIVE: Final = (Outcome.OVERLOADED, Outcome.DEADLINE_EXCEEDED, Outcome.DRAINING)


class Worker:
    """The worker inside the enclave, asked over one connection of the link.

    The connection is kept: a worker serves a bounded number, and a full table must not look like
    a dead worker.

    Args:
        address: Where it listens.
    """

    def __init__(self, address: Address) -> None:
        self._address = address
        self._socket: socket.socket | None = None

    def check(self) -> None:
        """Ask for its status.

        Raises:
            UnitError: It does not answer, or not as a worker does that serves.
        """
        try:
            if self._socket is None:
                self._socket = dial(self._address, _LINK_SECONDS)
                self._socket.settimeout(_LINK_SECONDS)
            request_status(self._socket, deadline=_LINK_SECONDS)
        except (OSError, BlindgateError) as error:
            if isinstance(error, RefusedByWorker) and error.outcome in _ALIVE:
                return
            self.close()
            raise UnitError(f"its worker does not answer ({error})") from error

    def close(self) -> None:
        """Close the connection; the next call opens another one."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None


class Unit:
    """Runs one enclave until SIGTERM.

    Args:
        plan: What to run.
        program: nitro-cli.
        lock: See `NitroCli`.
        pace: How often to look and how long to wait.
    """

    def __init__(self, plan: Plan, program: str, lock: Path, pace: Pace) -> None:
        self._plan = plan
        self._cli = NitroCli(program, lock, self._alive)
        self._worker = Worker(plan.link)
        self._pace = pace
        self._stopped = StopFlag()
        self._starting = True

    def stop(self, _signal: int = 0, _frame: FrameType | None = None) -> None:
        """Have `run` drain and end; a signal handler."""
        self._stopped.set()

    def run(self) -> None:
        """Start, watch and restart; on SIGTERM, drain and end.

        Raises:
            UnitError: The enclave does not start.
        """
        try:
            while not self._stopped.is_set():
                self._start()
                notify("READY=1\nSTATUS=the worker serves")
                try:
                    self._watch()
                except EnclaveLost as loss:
                    log.error("%s: restarting it", loss)
                    notify("STATUS=restarting the enclave")
                    self._end()
                    self._rest(self._pace.pause)
        except _Stopped:
            self._starting = False
            notify("STOPPING=1")
            self._end()
            return
        notify("STOPPING=1")
        self._worker.close()
        drain(self._plan.link, self._pace.grace)
        self._end()

    def _start(self) -> None:
        """Run the enclave and wait until its worker serves; nothing is left of a failed start."""
        plan = self._plan
        self._starting = True
        if self._is_left_over():
            log.warning("%s is there already: terminating it", plan.name)
            self._cli.terminate(plan.name)
        try:
            self._cli.run(plan)
            self._patiently(self._describe)
            self._wait_for_worker()
        except UnitError:
            self._end()
            raise
        self._starting = False

    def _is_left_over(self) -> bool:
        try:
            return self._patiently(lambda: self._cli.find(self._plan.name)) is not None
        except QueryFailed as failure:
            # Another enclave takes long to end. That must not keep ours from starting.
            if failure.listed:
                return False
            raise

    def _patiently(self, ask: Callable[[], Any]) -> Any:
        """Ask nitro-cli until it answers, a few times at most."""
        for _ in range(_TRIES - 1):
            try:
                return ask()
            except QueryFailed as failure:
                log.warning("%s: trying again", failure)
                self._rest(self._pace.period)
        return ask()

    def _wait_for_worker(self) -> None:
        """nitro-cli is content with a booted kernel; we are with a worker that serves."""
        ends = time.monotonic() + self._pace.serve
        describe_at = time.monotonic() + self._pace.period
        while True:
            try:
                self._worker.check()
                return
            except UnitError as failure:
                if time.monotonic() >= ends:
                    raise UnitError(
                        f"{self._plan.name} booted, but {failure} "
                        f"within {self._pace.serve:.0f} seconds"
                    ) from None
            if time.monotonic() >= describe_at:
                describe_at = time.monotonic() + self._pace.period
                with contextlib.suppress(QueryFailed):
                    self._describe()
            self._rest(min(self._pace.period, _STEP_SECONDS / 2))

    def _watch(self) -> None:
        """Return on SIGTERM.

        Raises:
            EnclaveLost: The enclave ended, or its worker does not answer any more.
        """
        looks = failures = 0
        knows = True
        while not self._stopped.wait(self._pace.period):
            self._alive()
            looks += 1
            try:
                self._worker.check()
                failures = 0
            except UnitError as failure:
                failures += 1
                log.warning("%s: %s, %d of %d", self._plan.name, failure, failures, _TRIES)
            if failures or looks % _LOOKS_PER_DESCRIBE == 0:
                try:
                    self._describe()
                    knows = True
                except QueryFailed as failure:
                    # The worker is asked directly, so an enclave that serves is left alone.
                    if knows:
                        log.warning("%s", failure)
                    knows = False
            if failures >= _TRIES:
                raise EnclaveLost(f"{self._plan.name} does not serve")

    def _describe(self) -> None:
        """Raise EnclaveLost if nitro-cli says that our enclave is not there or not ours."""
        found = self._cli.find(self._plan.name)
        if found is None:
            raise EnclaveLost(f"{self._plan.name} has ended")
        if found.get("State") != "RUNNING":
            raise EnclaveLost(f"{self._plan.name} is {found.get('State')}")
        if found.get("Flags") != "NONE":
            raise EnclaveLost(f"{self._plan.name} has the flags {found.get('Flags')}: not ours")

    def _end(self) -> None:
        """Terminate what there may be of our enclave."""
        self._worker.close()
        starting, self._starting = self._starting, False
        try:
            self._cli.terminate(self._plan.name)
        except UnitError as failure:
            # It fails for an enclave that ended by itself, and that is fine.
            with contextlib.suppress(QueryFailed):
                if self._cli.find(self._plan.name):
                    log.warning("%s", failure)
        finally:
            self._starting = starting

    def _rest(self, seconds: float) -> None:
        ends = time.monotonic() + seconds
        while (left := ends - time.monotonic()) > 0:
            self._alive()
            if self._stopped.wait(min(left, _STEP_SECONDS)):
                return

    def _alive(self) -> None:
        """Tell systemd that we are waiting and not stuck; stop waiting for a start on SIGTERM."""
        if self._starting:
            if self._stopped.is_set():
                raise _Stopped
            notify(f"WATCHDOG=1\nEXTEND_TIMEOUT_USEC={_EXTENSION_SECONDS * 1_000_000}")
        else:
            notify("WATCHDOG=1")


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
            request(sock, Operation.DRAIN, deadline=_LINK_SECONDS)
            while time.monotonic() < ends:
                if not _in_flight(request_status(sock, deadline=_LINK_SECONDS)):
                    return
                notify("WATCHDOG=1")
                time.sleep(0.1)
        log.warning("giving up what is still in flight")
    except (OSError, BlindgateError) as error:
        log.warning("cannot drain: %s", error)


def _in_flight(status: dict[str, Any]) -> bool:
    """Whether a worker still has requests: those that it opens, computes, seals and sends."""
    if "in_hand" in status:
        return bool(status["in_hand"])
    # A worker of an earlier version.
    return bool(status.get("busy") or status.get("queued"))


def notify(state: str) -> None:
    """Notify systemd (sd_notify(3)); nothing where no systemd listens."""
    path = os.environ.get("NOTIFY_SOCKET")
    if not path:
        return
    with (
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock,
        contextlib.suppress(OSError),  # a systemd that does not listen is no reason to end
    ):
        sock.settimeout(_NOTIFY_SECONDS)
        # An address that begins with @ is in Linux's abstract namespace.
        sock.sendto(state.encode(), path.replace("@", "\0", 1) if path[0] == "@" else path)


def _default_lock() -> Path:
    """A file in nitro-cli's own folder, which the units may write to."""
    folder = Path("/run/nitro_enclaves")
    return (folder if folder.is_dir() else Path(tempfile.gettempdir())) / "blindgate-start.lock"


def main() -> None:
    """Run one enclave."""
    pace = Pace()
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--name", required=True)
    parser.add_argument("--eif", type=Path, required=True)
    parser.add_argument("--cid", type=int, required=True)
    parser.add_argument("--cpus", type=int, required=True)
    parser.add_argument("--memory", type=int, required=True, metavar="MIB")
    parser.add_argument("--link", default="", help="the worker; vsock://CID:5005 if not given")
    parser.add_argument("--nitro-cli", default="/usr/bin/nitro-cli")
    parser.add_argument(
        "--lock",
        type=Path,
        default=_default_lock(),
        help="a file that all slots of the host lock while they start an enclave",
    )
    seconds = {"type": float, "metavar": "SECONDS"}
    parser.add_argument("--period", default=pace.period, help="between two looks", **seconds)
    parser.add_argument(
        "--serve", default=pace.serve, help="until a booted enclave must serve", **seconds
    )
    parser.add_argument("--pause", default=pace.pause, help="before a restart", **seconds)
    parser.add_argument("--grace", default=pace.grace, help="to drain", **seconds)
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        link = parse_address(arguments.link or f"vsock://{arguments.cid}:5005")
        plan = Plan(
            arguments.name, arguments.eif, arguments.cid, arguments.cpus, arguments.memory, link
        )
        times = Pace(arguments.period, arguments.serve, arguments.pause, arguments.grace)
        unit = Unit(plan, arguments.nitro_cli, arguments.lock, times)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, unit.stop)
        unit.run()
    except BlindgateError as error:
        sys.exit(f"enclave_unit: {error}")


if __name__ == "__main__":
    main()
