"""The enclaves that nitro-cli knows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from blindgate.errors import BlindgateError
from blindgate.nitro_cli import described_enclaves
from gateway.doctor.host import Host

PROGRAM: Final = "/usr/bin/nitro-cli"
#: PCR0 to PCR2, as nitro-cli prints them.
REGISTERS: Final = range(3)


class NoAnswer(BlindgateError):
    """nitro-cli is not there, or printed no list."""


@dataclass(frozen=True, slots=True)
class Enclave:
    """One enclave.

    Attributes:
        name: As it was started.
        cid: Its vsock address.
        state: `RUNNING`, `TERMINATING` …
        flags: `NONE` or `DEBUG_MODE`.
        pcrs: Its measurements in lower-case hexadecimal, by number; empty if not printed.
    """

    name: str
    cid: int
    state: str
    flags: str
    pcrs: Mapping[int, str] = field(default_factory=dict)


def describe(host: Host) -> list[Enclave]:
    """What `nitro-cli describe-enclaves` prints, also if it fails while another enclave ends (E39).

    Raises:
        NoAnswer: It printed no list.
    """
    try:
        done = host.run(PROGRAM, "describe-enclaves")
    except FileNotFoundError:
        raise NoAnswer(f"{PROGRAM} is not installed") from None
    except OSError as error:
        raise NoAnswer(f"{PROGRAM}: {error.strerror or error}") from None
    found = described_enclaves(done.stdout)
    if found is None:
        last = (done.stderr.strip() or f"exit code {done.code}").splitlines()[0]
        raise NoAnswer(f"nitro-cli describe-enclaves failed: {last[:200]}")
    return [_enclave(each) for each in found]


def running(host: Host) -> list[Enclave]:
    """Those that run. Raises NoAnswer."""
    return [each for each in describe(host) if each.state == "RUNNING"]


def _enclave(entry: dict[str, Any]) -> Enclave:
    measured = entry.get("Measurements")
    values = measured if isinstance(measured, dict) else {}
    pcrs = {
        index: value.lower()
        for index in REGISTERS
        if isinstance(value := values.get(f"PCR{index}"), str)
    }
    cid = entry.get("EnclaveCID")
    return Enclave(
        str(entry.get("EnclaveName", "")),
        cid if isinstance(cid, int) else 0,
        str(entry.get("State", "")),
        str(entry.get("Flags", "")),
        pcrs,
    )
