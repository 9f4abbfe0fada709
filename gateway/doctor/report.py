"""What is printed and written: the screen, JSON for programs, and the file for a bug report."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

import blindgate
from blindgate.printable import printable
from gateway.doctor.checks.hardware import ALLOCATOR, CPU_POOL
from gateway.doctor.checks.nitro import PROGRAM
from gateway.doctor.checks.proxy import ALLOW_LIST
from gateway.doctor.host import Host
from gateway.doctor.image_file import ImageFacts
from gateway.doctor.redaction import redact, redact_all
from gateway.doctor.result import Outcome, Result
from gateway.doctor.setup import Setup

#: The layout of `--json` and of the report; a change of meaning counts it up.
VERSION: Final = 1
#: Lines of each journal and log: a start that failed ten times.
_LINES: Final = 200
_MAX_TEXT: Final = 64 * 1024
#: Settings whose values are in a report; of the others, only the names.
_SHOWN: Final = frozenset(
    {
        "AWS_DEFAULT_REGION",
        "BLINDGATE_ENCLAVES",
        "BLINDGATE_HOST",
        "BLINDGATE_LOG_LEVEL",
        "BLINDGATE_PCRS",
        "BLINDGATE_PORT",
        "BLINDGATE_QUEUE",
        "BLINDGATE_RATE_LIMIT",
    }
)
_FILES: Final = (
    "/etc/os-release",
    ALLOCATOR,
    ALLOW_LIST,
    CPU_POOL,
    "/proc/meminfo",
    "/proc/cmdline",
    "/sys/devices/system/cpu/online",
    "/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages",
    "/sys/kernel/mm/hugepages/hugepages-1048576kB/nr_hugepages",
    # What "The first hour on an instance" in docs/deploy.md leaves.
    "/var/log/blindgate/first-hour-measurements.txt",
    "/var/log/blindgate/first-hour-console.txt",
    "/var/log/blindgate/first-hour-memory.txt",
)
_METADATA: Final = ("instance-type", "ami-id")
_OK: Final = 200
_JOURNALS: Final = (
    "nitro-enclaves-allocator.service",
    "blindgate-vsock-proxy.service",
    "blindgate-enclave@blue.service",
    "blindgate-enclave@green.service",
    "blindgate-gateway.service",
)
_COMMANDS: Final = (
    ("uname", "-a"),
    (PROGRAM, "--version"),
    (PROGRAM, "describe-enclaves"),
    ("rpm", "-q", "aws-nitro-enclaves-cli", "amazon-cloudwatch-agent", "kernel"),
    ("systemctl", "--no-pager", "--failed", "--plain"),
    ("ss", "--vsock", "--listening", "--numeric"),
    ("tail", "-n", str(_LINES), "/var/log/nitro_enclaves/nitro_enclaves.log"),
    *(
        ("journalctl", "--no-pager", "--output=short-iso", "-n", str(_LINES), "-u", unit)
        for unit in _JOURNALS
    ),
)


def count(results: Mapping[str, Result], outcome: Outcome) -> int:
    """How many results have this outcome."""
    return sum(each.outcome is outcome for each in results.values())


def summary(results: Mapping[str, Result]) -> str:
    """One line: how many of each outcome."""
    counts = [f"{count(results, each)} {each}" for each in Outcome if count(results, each)]
    return ", ".join(counts)


def as_json(results: Mapping[str, Result]) -> dict[str, Any]:
    """The results for programs."""
    return {
        "version": VERSION,
        "ok": not count(results, Outcome.FAILED),
        "checks": [
            {
                "name": name,
                "result": each.outcome.value,
                "seen": each.seen,
                "fix": each.fix,
                "details": dict(each.details),
            }
            for name, each in results.items()
        ],
    }


def write_report(host: Host, setup: Setup, results: Mapping[str, Result]) -> bytes:
    """Everything that a maintainer needs, as JSON, without secrets.

    Args:
        host: The machine.
        setup: What is installed there.
        results: What the checks found.
    """
    images = {
        path: {
            "architecture": facts.architecture,
            "bytes": facts.bytes,
            "memory_mib": facts.memory_mib,
            "regions": list(facts.regions),
            "fips": facts.fips,
            "keys": len(facts.key_arns),
        }
        if isinstance(facts, ImageFacts)
        else facts
        for path, facts in setup.images.items()
    }
    found = {
        **as_json(results),
        "blindgate": blindgate.__version__,
        "time": datetime.fromtimestamp(host.now(), UTC).isoformat(timespec="seconds"),
        "architecture": host.architecture(),
        "region": setup.region,
        "slots": [
            {"name": each.name, "cid": each.cid, "cpus": each.cpus, "memory_mib": each.memory_mib}
            for each in setup.slots
        ],
        "images": images,
        "gateway": {
            name: value if name in _SHOWN else "[set]" for name, value in setup.gateway.items()
        },
        "instance": {name: _metadata(host, setup.imds, name) for name in _METADATA},
        "files": {path: _file(host, path) for path in _FILES},
        "commands": {" ".join(command): _output(host, command) for command in _COMMANDS},
    }
    return (json.dumps(redact_all(found), indent=2, ensure_ascii=False) + "\n").encode(
        errors="backslashreplace"
    )


def _metadata(host: Host, imds: str, name: str) -> str:
    """What the instance metadata service says about this; no credentials are asked for."""
    try:
        token = host.http(
            f"{imds}/latest/api/token",
            method="PUT",
            headers={"X-aws-ec2-metadata-token-ttl-seconds": "60"},
        )
        headers = {"X-aws-ec2-metadata-token": token.body.decode("ascii", "replace")}
        answer = host.http(f"{imds}/latest/meta-data/{name}", headers=headers)
    except (OSError, ValueError):
        return "(unknown)"
    return answer.body.decode("ascii", "replace")[:100] if answer.status == _OK else "(unknown)"


def _file(host: Host, path: str) -> str:
    try:
        text = host.read(path, limit=_MAX_TEXT).decode(errors="backslashreplace")
    except OSError as error:
        return f"({error.strerror or 'unreadable'})"
    return printable(redact(text), keep="\n\t")


def _output(host: Host, command: tuple[str, ...]) -> dict[str, Any] | str:
    try:
        done = host.run(*command)
    except OSError as error:
        return f"({error.strerror or error})"
    shown = {"stdout": done.stdout[-_MAX_TEXT:], "stderr": done.stderr[-_MAX_TEXT:]}
    return {"code": done.code} | {
        name: printable(redact(text), keep="\n\t") for name, text in shown.items() if text
    }
