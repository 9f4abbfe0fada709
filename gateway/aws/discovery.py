"""Finding the enclaves that run on this machine, by asking `nitro-cli describe-enclaves`."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import signal
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Annotated, Final

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from blindgate.errors import BlindgateError
from blindgate.link import Address, VsockAddress
from blindgate.link.addresses import PARENT_CID

_log = logging.getLogger(__name__)

#: It asks a process for each enclave and answers within a second.
_PATIENCE: Final = 10.0
#: A machine runs four enclaves at most; each takes some 600 bytes to describe.
_MAX_OUTPUT: Final = 256 * 1024


class DiscoveryError(BlindgateError):
    """nitro-cli cannot be run, or said something else than what it says about enclaves."""


class _Described(BaseModel):
    """One entry of the answer; it has many more fields."""

    model_config = ConfigDict(extra="ignore")

    cid: Annotated[int, Field(alias="EnclaveCID", gt=PARENT_CID, lt=0xFFFF_FFFF)]
    state: Annotated[str, Field(alias="State")]


_ANSWER: Final = TypeAdapter(list[_Described])


def running_enclaves(output: bytes, port: int) -> list[Address]:
    """The addresses of the enclaves that run.

    Args:
        output: What `nitro-cli describe-enclaves` wrote.
        port: The vsock port on which their workers listen.

    Raises:
        DiscoveryError: It is not such an output.
    """
    try:
        described = _ANSWER.validate_python(json.loads(output))
    except (ValueError, RecursionError, ValidationError):
        raise DiscoveryError("nitro-cli did not answer with a list of enclaves") from None
    # One that terminates still has its requests: the pool lets it finish them.
    return [VsockAddress(entry.cid, port) for entry in described if entry.state == "RUNNING"]


async def describe_enclaves(program: Path) -> bytes:
    """What nitro-cli says.

    Raises:
        DiscoveryError: It cannot be run, fails, or takes too long.
    """
    try:
        process = await asyncio.create_subprocess_exec(
            program,
            "describe-enclaves",
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            start_new_session=True,
        )
    except OSError as error:
        raise DiscoveryError(f"cannot run {program}: {error.strerror}") from None
    assert process.stdout is not None  # noqa: S101 - a pipe was asked for
    try:
        async with asyncio.timeout(_PATIENCE):
            output = await _read_all(process.stdout)
            code = await process.wait()
    except TimeoutError:
        raise DiscoveryError(f"{program} does not answer") from None
    finally:
        # Its own children as well: one that holds the pipe would be waited for.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        # asyncio notices the end only after what is left in the pipe.
        while await process.stdout.read(_MAX_OUTPUT):
            pass
        await process.wait()
    if code:
        raise DiscoveryError(f"{program} ended with exit code {code}")
    return output


async def _read_all(stream: asyncio.StreamReader) -> bytes:
    """Everything up to the end of the stream, which may come in pieces.

    Raises:
        DiscoveryError: It is too much.
    """
    output = bytearray()
    while piece := await stream.read(_MAX_OUTPUT):
        output += piece
        if len(output) > _MAX_OUTPUT:
            raise DiscoveryError(f"nitro-cli wrote more than {_MAX_OUTPUT} bytes")
    return bytes(output)


async def follow(
    program: Path, port: int, period: float, found: Callable[[Iterable[Address]], None]
) -> None:
    """Tell which enclaves run, again and again, until cancelled.

    An answer that cannot be had changes nothing: the enclaves that are known go on.

    Args:
        program: nitro-cli.
        port: The vsock port on which workers listen.
        period: Seconds between two questions.
        found: Told the addresses each time.
    """
    while True:
        try:
            found(running_enclaves(await describe_enclaves(program), port))
        except DiscoveryError as error:
            _log.warning("enclaves cannot be listed", extra={"reason": str(error)})
        await asyncio.sleep(period)
