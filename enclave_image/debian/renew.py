"""Resolves a lock anew with apt, in a private folder: the machine's own packages stay as they are.

apt checks the archives' signatures; the lock then carries what it found.
"""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Final
from urllib.parse import unquote

from enclave_image.debian.lock import Asked, Lock, Package
from enclave_image.debian.mirrors import SNAPSHOT_ARCHIVE, Mirrors
from enclave_image.errors import LockError

KEYRING: Final = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
_PRINTED: Final = re.compile(r"^'([^']+)' (\S+)_(\S+)_\w+\.deb ")
_SECONDS: Final = 300


def renew(asked: Asked, mirrors: Mirrors, *, allow_expired: bool = False) -> Lock:
    """Ask apt what the newest packages are.

    Args:
        asked: What to resolve.
        mirrors: Where the archives are; without a mirror, the snapshot archive of now.
        allow_expired: Take an index whose validity has ended, as frozen mirrors have.

    Raises:
        LockError: apt is not here, or refuses.
    """
    now = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
    with tempfile.TemporaryDirectory(prefix="blindgate-apt-") as folder:
        root = Path(folder)
        bases = _prepare(root, asked, mirrors, now, allow_expired=allow_expired)
        _apt(root, "apt-get", "update", "-qq")
        printed = _apt(root, "apt-get", "install", "--yes", "--print-uris", *asked.packages)
        chosen = dict(_chosen(printed.splitlines(), asked))
        asked_for = [f"{name}={version}" for name, (version, _) in sorted(chosen.items())]
        records = _apt(root, "apt-cache", "show", *asked_for)
    packages = tuple(_packages(records, {name: uri for name, (_, uri) in chosen.items()}, bases))
    if len(packages) != len(chosen):
        raise LockError("apt does not describe every package that it would install")
    return Lock(asked, now, packages)


def _prepare(
    root: Path, asked: Asked, mirrors: Mirrors, now: str, *, allow_expired: bool
) -> dict[str, str]:
    for name in ("state/lists/partial", "cache/archives/partial", "etc/parts", "etc/preferences.d"):
        (root / name).mkdir(parents=True)
    (root / "status").touch()
    bases = {}
    lines = []
    for suite in asked.suites:
        archive, distribution, *components = suite.split()
        base = mirrors.bases.get(archive) or f"{SNAPSHOT_ARCHIVE}/{archive}/{now}"
        bases[archive] = base
        options = f"signed-by={KEYRING}" + (" check-valid-until=no" if allow_expired else "")
        lines.append(f"deb [{options}] {base} {distribution} {' '.join(components)}\n")
    (root / "etc/sources.list").write_text("".join(lines))
    (root / "apt.conf").write_text(
        f'Dir::State "{root}/state";\nDir::State::status "{root}/status";\n'
        f'Dir::Cache "{root}/cache";\nDir::Etc "{root}/etc";\nDir::Etc::parts "{root}/etc/parts";\n'
        f'APT::Architecture "{asked.architecture}";\n'
        f'APT::Architectures {{ "{asked.architecture}"; }};\n'
        'APT::Install-Recommends "0";\nAcquire::Languages "none";\nAPT::Sandbox::User "";\n'
    )
    return bases


def _apt(root: Path, *command: str) -> str:
    environment = {**os.environ, "APT_CONFIG": str(root / "apt.conf"), "LC_ALL": "C"}
    try:
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=_SECONDS, check=True
        )
    except FileNotFoundError:
        raise LockError("apt is not here: renew locks on a Debian or Ubuntu machine") from None
    except subprocess.TimeoutExpired:
        raise LockError(f"{command[0]} takes longer than {_SECONDS} s") from None
    except subprocess.CalledProcessError as error:
        last = (error.stderr.strip() or "no reason given").splitlines()[-1]
        raise LockError(f"{command[0]} {command[1]}: {last}") from None
    return done.stdout


def _chosen(lines: Iterable[str], asked: Asked) -> Iterator[tuple[str, tuple[str, str]]]:
    for line in lines:
        if not (found := _PRINTED.match(line)):
            continue
        uri, name, version = found.groups()
        if _matches(name, asked.keep) and not _matches(name, asked.leave_out):
            yield name, (unquote(version), uri)


def _matches(name: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def _packages(records: str, uris: dict[str, str], bases: dict[str, str]) -> Iterator[Package]:
    seen = set()
    for record in records.strip().split("\n\n"):
        fields = dict(
            line.split(": ", 1) for line in record.splitlines() if ": " in line and line[0] != " "
        )
        name, path = fields["Package"], fields["Filename"]
        if name in seen:
            continue
        seen.add(name)
        archive = next(
            each
            for each, base in sorted(bases.items())
            if unquote(uris[name]) == unquote(f"{base}/{path}")
        )
        yield Package(name, fields["Version"], archive, path, int(fields["Size"]), fields["SHA256"])
