#!/usr/bin/python3.13 -ISB
"""The first process of the enclave: mounts, starts the worker, and ends the machine with it.

Nothing here depends on what the parent instance says. The kernel hands unknown words of its command
line to this process, as arguments and environment; `-I` makes Python ignore both, and the worker
gets an environment of constants.

There is no power-off in an enclave: what ends it is a reset. AWS's own init ends the same way
(aws-nitro-enclaves-sdk-bootstrap `init/init.c`); with a halt, nitro-cli would go on saying RUNNING.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import socket
import sys
import threading
import time
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Final, NoReturn

CONFIG: Final = Path("/etc/blindgate/enclave.toml")
_PYTHON: Final = "/usr/bin/python3.13"
_FLAGS: Final = ("-s", "-S", "-P")
#: All that the worker's environment holds.
ENVIRONMENT: Final = {
    "PATH": "/usr/bin",
    "HOME": "/tmp",  # noqa: S108 - the only place where anything can be written
    "LC_ALL": "C.UTF-8",
    "MALLOC_ARENA_MAX": "2",
    "MALLOC_MMAP_THRESHOLD_": "2097152",
    "MALLOC_TRIM_THRESHOLD_": "16777216",
    "ORT_DISABLE_TELEMETRY": "1",
    "PYTHONHOME": "/usr",
    "PYTHONPATH": "/opt/blindgate/app:/opt/blindgate/site",
    "PYTHONUNBUFFERED": "1",
}

# Linux `include/uapi/linux/mount.h` and `reboot.h`.
_RDONLY: Final = 1
_NOSUID: Final = 2
_NODEV: Final = 4
_NOEXEC: Final = 8
_REMOUNT: Final = 32
_RESTART: Final = 0x01234567
#: finit_module by machine (Linux `arch/x86/entry/syscalls/syscall_64.tbl`, generic table).
_FINIT_MODULE: Final = {"x86_64": 313, "aarch64": 273}

#: nitro-cli listens at the parent's port 9000 while an enclave starts, reads one byte and sends it
#: back (aws-nitro-enclaves-cli `enclave_proc/resource_manager.rs`).
HEARTBEAT_PORT: Final = 9000
HEARTBEAT: Final = b"\xb7"
#: The parent of a Nitro enclave.
PARENT_CID: Final = 3
_BEAT_SECONDS: Final = 10.0
_BEAT_ATTEMPTS: Final = 30
_BEAT_PAUSE: Final = 1.0

#: The hypervisor's clock (Linux `drivers/ptp/ptp_kvm_common.c`). kvm-clock drifts by seconds
#: a week, and KMS refuses signatures that are five minutes off; AWS's advice is this device
#: (aws-nitro-enclaves-cli issue 500).
HYPERVISOR_CLOCK: Final = Path("/dev/ptp0")
_CLOCK_SECONDS: Final = 3600.0
#: Smaller differences are left alone.
_CLOCK_TOLERANCE: Final = 0.001


def _say(text: str) -> None:
    with contextlib.suppress(OSError):
        os.write(1, f"init: {text}\n".encode())


def _mount(kind: str, target: str, flags: int, options: str = "") -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    done = libc.mount(kind.encode(), target.encode(), kind.encode(), flags, options.encode())
    if done != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"cannot mount {kind} on {target}: {os.strerror(number)}")


def _end() -> NoReturn:
    """Reset the machine, which ends the enclave."""
    ctypes.CDLL(None).reboot(_RESTART)
    # Not reached as root. The end of the first process is a panic, and `panic=1` resets too.
    os._exit(1)


def _load_modules(folder: Path) -> None:
    """Insert signed modules in order of their names; our own kernel has none.

    A module does not read the command line, where the hypervisor lists virtio devices.
    """
    words = Path("/proc/cmdline").read_text().split()
    devices = [w.removeprefix("virtio_mmio.") for w in words if w.startswith("virtio_mmio.device=")]
    libc = ctypes.CDLL(None, use_errno=True)
    for path in sorted(folder.glob("*.ko")):
        options = " ".join(devices) if path.name.endswith("-virtio_mmio.ko") else ""
        with path.open("rb") as file:
            number = _FINIT_MODULE[os.uname().machine]
            if libc.syscall(number, file.fileno(), options.encode(), 0) != 0:
                _say(f"{path.name} was not loaded: {os.strerror(ctypes.get_errno())}")


def _prepare() -> None:
    _mount("proc", "/proc", _NOSUID | _NODEV | _NOEXEC)
    _mount("sysfs", "/sys", _NOSUID | _NODEV | _NOEXEC | _RDONLY)
    _mount("devtmpfs", "/dev", _NOSUID | _NOEXEC, "mode=0755")
    _mount("tmpfs", "/tmp", _NOSUID | _NODEV | _NOEXEC, "mode=1777,size=16m")  # noqa: S108
    _load_modules(Path("/modules"))
    # An enclave writes nothing down. This fails if the kernel could not unpack every file, for want
    # of memory; then nothing must start.
    try:
        _mount("rootfs", "/", _REMOUNT | _RDONLY)
    except OSError:
        raise OSError("not enough memory for the files") from None
    _say(f"network devices: {' '.join(_names('/sys/class/net'))}")
    _say(f"disks: {' '.join(_names('/sys/block'))}")
    mounts = [line.split() for line in Path("/proc/mounts").read_text().splitlines()]
    _say(f"file systems: {' '.join(f'{at}:{kind}:{how[:2]}' for _, at, kind, how, *_ in mounts)}")


def _names(folder: str) -> list[str]:
    return sorted(os.listdir(folder)) if Path(folder).is_dir() else []  # noqa: PTH208


def parent_cid(config: str) -> int:
    """The parent's CID: the one that the measured configuration reaches KMS through.

    Args:
        config: The text of the measured configuration.
    """
    address = str(tomllib.loads(config).get("kms", {}).get("address", ""))
    place = address.removeprefix("vsock://").partition(":")[0]
    return int(place) if address.startswith("vsock://") and place.isdigit() else PARENT_CID


def exchange_heartbeat(connection: socket.socket) -> bool:
    """Send the heartbeat and wait until it comes back."""
    connection.sendall(HEARTBEAT)
    return connection.recv(1) == HEARTBEAT


def _send_heartbeat(cid: int) -> bool:
    with socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM) as connection:
        connection.settimeout(_BEAT_SECONDS)
        try:
            connection.connect((cid, HEARTBEAT_PORT))
            return exchange_heartbeat(connection)
        except OSError:
            return False


def announce(ready: int, cid: int) -> None:
    """Tell nitro-cli that the enclave has booted, once the worker accepts connections.

    Args:
        ready: The read end of a pipe. The worker writes a byte when it accepts connections; if it
            ends before, there is no heartbeat and `nitro-cli run-enclave` fails.
        cid: The parent's.
    """
    with os.fdopen(ready, "rb", buffering=0) as pipe:
        if not pipe.read(1):
            return
    for _ in range(_BEAT_ATTEMPTS):
        if _send_heartbeat(cid):
            _say("heartbeat answered")
            return
        time.sleep(_BEAT_PAUSE)
    _say("no heartbeat was answered: nothing listens at the parent's port 9000")


def clock_id(descriptor: int) -> int:
    """The clock of an open device, for `time.clock_gettime` (Linux `FD_TO_CLOCKID`)."""
    return (~descriptor << 3) | 3


def correct_clock(read: Callable[[], float], write: Callable[[float], None]) -> float:
    """Set the system's clock to the hypervisor's if they differ by more than a millisecond.

    Args:
        read: The hypervisor's clock, in seconds since 1970.
        write: Sets the system's clock.

    Returns:
        Seconds by which the system's clock was behind; 0.0 if it was left alone.
    """
    behind = read() - time.time()
    if abs(behind) < _CLOCK_TOLERANCE:
        return 0.0
    write(read())
    return behind


def _follow_clock() -> None:
    """Correct the clock at the start and once an hour, where the hypervisor offers one."""
    try:
        clock = clock_id(os.open(HYPERVISOR_CLOCK, os.O_RDONLY | os.O_CLOEXEC))
    except OSError as error:
        _say(f"the hypervisor's clock is not used: {error}")
        return
    while True:
        try:
            behind = correct_clock(
                lambda: time.clock_gettime(clock),
                lambda now: time.clock_settime(time.CLOCK_REALTIME, now),
            )
            if behind:
                _say(f"the clock was corrected by {behind:+.3f} s")
        except OSError as error:
            _say(f"the clock was not corrected: {error}")
        time.sleep(_CLOCK_SECONDS)


def _start_worker() -> int:
    ready, tell = os.pipe()
    os.set_inheritable(tell, True)
    command = [_PYTHON, *_FLAGS, "-m", "enclave_app", "--config", str(CONFIG)]
    worker = os.posix_spawn(_PYTHON, [*command, "--ready-fd", str(tell)], ENVIRONMENT)
    os.close(tell)
    cid = parent_cid(CONFIG.read_text())
    threading.Thread(target=announce, args=(ready, cid), daemon=True).start()
    threading.Thread(target=_follow_clock, daemon=True).start()
    return worker


def main() -> NoReturn:
    """Run the enclave until its worker ends."""
    try:
        _prepare()
        worker = _start_worker()
        # The first process also collects children whose parents have ended.
        while True:
            pid, status = os.wait()
            if pid == worker:
                break
        _say(f"the worker ended with status {os.waitstatus_to_exitcode(status)}")
    except BaseException as error:  # noqa: BLE001 - whatever it is, the enclave must end
        _say(f"{type(error).__name__}: {error}")
    _end()


if __name__ == "__main__":
    sys.exit(main())
