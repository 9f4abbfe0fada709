"""Build a release: everything that a parent instance runs, in one archive.

    python deploy/release.py -o out/blindgate-release.tar.gz

holds `wheels/` (the client's, the gateway's, and all of locks/gateway.txt, checked by hash, for the
instances' Python), `requirements.txt` (that lock), and `systemd/` (units, install.sh). Instances
install it without asking any package index. The same source and lock give the same bytes.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import io
import os
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import Final

from blindgate.atomic_files import writing

ROOT: Final = Path(__file__).resolve().parents[1]

#: Amazon Linux 2023: python3.11 and glibc 2.34.
PYTHON: Final = "3.11"
GLIBC: Final = ("2_34", "2_31", "2_28", "2_27", "2_26", "2_24", "2_17", "2_12", "2_5")
LEGACY: Final = ("2014", "2010", "1")
#: Part of the gateway's wheel if it was built; `applications/gateway_files.py` adds it.
PAGE: Final = "gateway/console/dist/served/index.html"


class ReleaseError(Exception):
    """The release cannot be built."""


def collect_wheels(folder: Path, architecture: str) -> None:
    """Put the project's wheels and those that they need into a folder.

    Raises:
        ReleaseError: A package cannot be had as a wheel for the instances, or its hash is wrong.
    """
    if sys.version_info[:2] != (3, 11):
        # pip reads a lock's conditions ("; python_version …") for the Python that runs it.
        raise ReleaseError(f"run this with Python {PYTHON}, which the instances have")
    platforms = [f"manylinux_{version}_{architecture}" for version in GLIBC]
    platforms += [f"manylinux{version}_{architecture}" for version in LEGACY]
    command = ["pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
    command += ["--require-hashes", "--only-binary", ":all:", "--dest", str(folder)]
    command += ["--implementation", "cp", "--python-version", PYTHON, "--abi", "cp311"]
    command += ["--abi", "abi3", "--abi", "none"]
    command += [argument for name in platforms for argument in ("--platform", name)]
    _python(*command, "-r", str(ROOT / "locks" / "gateway.txt"))
    if not (ROOT / PAGE).is_file():
        print("no console in this release: `make assets` builds it (Node)", file=sys.stderr)
    for project in (ROOT, ROOT / "applications"):
        _python("hatchling", "build", "-t", "wheel", "-d", str(folder), project=project)


def _python(*arguments: str, project: Path = ROOT) -> None:
    done = subprocess.run(
        [sys.executable, "-m", *arguments],
        cwd=project,
        # Wheels hold times; these are the same every time.
        env={**os.environ, "SOURCE_DATE_EPOCH": "1767225600"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    if done.returncode:
        raise ReleaseError(f"{arguments[0]} failed:\n{done.stderr.strip()}")


def check_output(output: Path, *, force: bool) -> None:
    """See that the archive may be written, before the minutes that it takes to build.

    Raises:
        ReleaseError: It may not.
    """
    if output.is_dir():
        raise ReleaseError(f"{output} is a folder: give the name of a file")
    if os.path.lexists(output) and not force:
        raise ReleaseError(f"{output} exists already: give another name, or --force to replace it")


def pack(files: dict[str, Path], output: Path, *, force: bool = False) -> str:
    """Write files into a .tar.gz whose bytes depend on nothing but names and content.

    Args:
        files: Names in the archive, and where the files are.
        output: The archive.
        force: Whether it may replace another file.

    Returns:
        Its SHA-256.

    Raises:
        FileExistsError: It may not, and there is one.
        OSError: It cannot be written.
    """
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name, path in sorted(files.items()):
            data = path.read_bytes()
            member = tarfile.TarInfo(name)
            member.size = len(data)
            member.mode = 0o755 if path.suffix == ".sh" else 0o644
            archive.addfile(member, io.BytesIO(data))
    packed = gzip.compress(plain.getvalue(), mtime=0)
    output.parent.mkdir(parents=True, exist_ok=True)
    with writing(output, replace=force) as file:
        file.write(packed)
    return hashlib.sha256(packed).hexdigest()


def build(output: Path, architecture: str, *, force: bool = False) -> str:
    """Build a release.

    Returns:
        Its SHA-256.

    Raises:
        ReleaseError: See `check_output` and `collect_wheels`.
        OSError: It cannot be written.
    """
    check_output(output, force=force)
    with tempfile.TemporaryDirectory() as folder:
        wheels = Path(folder)
        collect_wheels(wheels, architecture)
        files = {f"wheels/{path.name}": path for path in wheels.iterdir()}
        files["requirements.txt"] = ROOT / "locks" / "gateway.txt"
        for path in (ROOT / "deploy" / "systemd").iterdir():
            if path.is_file():
                files[f"systemd/{path.name}"] = path
        return pack(files, output, force=force)


def main() -> None:
    """Build a release and print its SHA-256."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--architecture", choices=("x86_64", "aarch64"), default="x86_64")
    parser.add_argument("--force", action="store_true", help="replace the file if it exists")
    arguments = parser.parse_args()
    try:
        digest = build(arguments.output, arguments.architecture, force=arguments.force)
    except (ReleaseError, OSError) as error:
        sys.exit(f"release: {error}")
    print(f"{digest}  {arguments.output}")


if __name__ == "__main__":
    main()
