"""`make demo`: everything on one photo, with the commands that a person would type."""

from __future__ import annotations

import asyncio
import filecmp
import os
import re
import shlex
import sys
import tempfile
import time
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from botocore.exceptions import ClientError

from blindgate.cli.console import err, out
from blindgate.cli.files import read_file, write_new
from blindgate.envelope.message_header import parse_header
from blindgate.errors import BlindgateError
from devstack.places import Places
from devstack.stack import Options, Running, Stack, kms_client
from devstack.supervisor import Supervisor


class DemoFailed(BlindgateError):
    """A step of the demonstration did not do what it shows."""


def default_photo() -> Path:
    """A cup of coffee on a table: scikit-image's photograph, in the public domain (CC0)."""
    return Path(str(resources.files("skimage") / "data" / "coffee.png"))


@dataclass(frozen=True, slots=True)
class Results:
    """The files that a demonstration writes.

    Attributes:
        copy: The photo, so that the commands shown are short.
        encrypted: Its envelope.
        annotated: The photo with its objects.
    """

    copy: Path
    encrypted: Path
    annotated: Path

    def is_copied(self, photo: Path) -> bool:
        """Whether the photo is there already: itself, or a copy with the same content."""
        return self.copy.is_file() and filecmp.cmp(photo, self.copy, shallow=False)


def results(photo: Path, output: Path) -> Results:
    """Where the files of a demonstration go.

    Args:
        photo: The photo.
        output: Their folder.
    """
    copy = output / photo.name
    return Results(
        copy,
        copy.with_name(f"{copy.name}.encrypted"),
        copy.with_name(f"{copy.stem}.detections.png"),
    )


async def show(photo: Path, files: Results, model: Path) -> None:
    """Start the stack, run the photo through it, stop the stack.

    Args:
        photo: A JPEG, PNG or WebP file.
        files: What is written; replaced if it is there.
        model: The detector's folder.

    Raises:
        DemoFailed: A step failed; what it printed stands above.
    """
    began = time.monotonic()
    if not files.is_copied(photo):
        write_new(files.copy, read_file(photo), force=True)
    with tempfile.TemporaryDirectory(prefix="blindgate-") as folder:
        places = Places.prepare(Path(folder))
        async with Supervisor(None) as supervisor:
            stack = Stack(places, Options(model, gateway_port=0, kms_port=0), supervisor)
            running = await stack.start(lambda step: err.print(f"  starting: {step}", style="dim"))
            await _steps(running, places, files)
            memory = _peak_memory(running.pids["worker"])
    seconds = time.monotonic() - began
    peak = f"; the worker's memory peaked at {memory:.0f} MB" if memory is not None else ""
    out.print(f"\nDone in {seconds:.0f} s{peak}.")


async def _steps(running: Running, places: Places, files: Results) -> None:
    encrypted, annotated = files.encrypted, files.annotated
    alias = running.key_alias

    _heading("1. The data owner encrypts under a KMS key. Only this file is uploaded.")
    await _run(running, "encrypt", str(files.copy), "--key-id", alias, "--force")

    _heading("2. The gateway gets ciphertext; the enclave worker opens it and detects.")
    detect = ["detect", str(encrypted), "--gateway", running.gateway]
    await _run(running, *detect, "--annotate", str(annotated), "--force")
    await _run(running, *detect, "--json")

    _heading("3. The parent instance tries to open it too, with the very same credentials.")
    await asyncio.to_thread(_parent_tries, running, places, encrypted)
    out.print(f"\nAnnotated photo: {annotated.absolute()}")


async def _run(running: Running, *arguments: str) -> None:
    """Run one of our commands as a person would, in the data owner's environment."""
    err.print(f"$ blindgate {shlex.join(arguments)}", style="bold cyan")
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "blindgate",
        *arguments,
        env={**os.environ, **running.client_environment()},
    )
    if await process.wait():
        raise DemoFailed(f"`blindgate {arguments[0]}` failed; its message stands above")


def _parent_tries(running: Running, places: Places, encrypted: Path) -> None:
    kms = kms_client(places, running.kms, "parent")
    err.print(
        "$ aws kms decrypt --ciphertext-blob <the wrapped data key>",
        style="bold cyan",
    )
    # All that it needs is readable in the message's header; only KMS refuses.
    header = parse_header(encrypted.read_bytes())
    (wrapped,) = header.data_keys
    try:
        kms.decrypt(
            KeyId=running.key_arn,
            CiphertextBlob=wrapped.ciphertext,
            EncryptionContext=dict(header.context),
        )
    except ClientError as error:
        out.print(f"{error}", style="yellow")
        if error.response["Error"]["Code"] != "AccessDeniedException":
            raise DemoFailed("KMS refused for another reason than the key policy") from error
        return
    raise DemoFailed("the parent could open the data key: the key policy does not hold")


def _heading(text: str) -> None:
    err.print(f"\n{text}", style="bold")


def _peak_memory(pid: int, proc: Path = Path("/proc")) -> float | None:
    """The most memory that a process has held so far, in MB; None where only Linux says so."""
    try:
        status = (proc / str(pid) / "status").read_text()
    except OSError:
        return None
    found = re.search(r"VmHWM:\s+(\d+) kB", status)
    return int(found[1]) * 1024 / 1e6 if found else None
