"""Enclaves from nitro-cli."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Iterable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blindgate.link import Address, VsockAddress
from gateway.aws import discovery
from gateway.aws.discovery import DiscoveryError, describe_enclaves, follow, running_enclaves
from tests.gateway.conftest import serve_gateway

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def described(cid: int, state: str = "RUNNING") -> dict[str, object]:
    """An entry in the shape that nitro-cli 1.4 writes."""
    return {
        "EnclaveName": "blindgate",
        "EnclaveID": "i-05f6ed443aEXAMPLE-enc173dfe3eEXAMPLE",
        "ProcessID": 7077,
        "EnclaveCID": cid,
        "NumberOfCPUs": 2,
        "CPUIDs": [1, 3],
        "MemoryMiB": 3072,
        "State": state,
        "Flags": "NONE",
        "Measurements": {"HashAlgorithm": "Sha384 { ... }", "PCR0": "00" * 48},
    }


def nitro_cli(folder: Path, script: str) -> Path:
    program = folder / "nitro-cli"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    return program


def test_running_enclaves_become_addresses() -> None:
    output = json.dumps([described(16), described(17, "TERMINATING"), described(18)]).encode()
    assert running_enclaves(output, 5005) == [VsockAddress(16, 5005), VsockAddress(18, 5005)]
    assert running_enclaves(b"[]", 5005) == []


@pytest.mark.parametrize(
    "output",
    [
        b"",
        b"{}",
        b"[1]",
        b'[{"State": "RUNNING"}]',
        json.dumps([described(3)]).encode(),  # the parent itself
        json.dumps([described(2**32)]).encode(),
        b"[" * 100_000,
    ],
)
def test_anything_else_is_refused(output: bytes) -> None:
    with pytest.raises(DiscoveryError):
        running_enclaves(output, 5005)


@given(st.binary(max_size=200))
def test_no_output_does_harm(output: bytes) -> None:
    try:
        running_enclaves(output, 5005)
    except DiscoveryError:
        pass


async def test_nitro_cli_is_asked_to_describe(tmp_path: Path) -> None:
    program = nitro_cli(tmp_path, 'test "$*" = describe-enclaves && echo "[]"')
    assert await describe_enclaves(program) == b"[]\n"


@pytest.mark.parametrize("script", ["exit 3", None])
async def test_a_nitro_cli_that_fails_is_an_error(tmp_path: Path, script: str | None) -> None:
    program = tmp_path / "absent" if script is None else nitro_cli(tmp_path, script)
    with pytest.raises(DiscoveryError):
        await describe_enclaves(program)


async def test_an_output_that_comes_in_pieces_is_read_to_its_end(tmp_path: Path) -> None:
    entries = [described(cid) for cid in range(16, 20)]
    pieces = [json.dumps(entry) for entry in entries]
    script = "printf '['; " + "printf ','; ".join(
        f"printf '%s' '{piece}'; sleep 0.1; " for piece in pieces
    )
    program = nitro_cli(tmp_path, f"{script}printf ']'")
    found = running_enclaves(await describe_enclaves(program), 5005)
    assert found == [VsockAddress(cid, 5005) for cid in range(16, 20)]


async def test_an_output_has_at_most_256_kib(tmp_path: Path) -> None:
    program = nitro_cli(tmp_path, "head -c 262144 /dev/zero")
    assert len(await describe_enclaves(program)) == 262_144
    # It would write for as long as somebody reads.
    with pytest.raises(DiscoveryError, match="more than 262144 bytes"):
        await asyncio.wait_for(describe_enclaves(nitro_cli(tmp_path, "cat /dev/zero")), 60)


async def test_a_nitro_cli_that_does_not_end_is_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(discovery, "_PATIENCE", 0.3)
    pid = tmp_path / "pid"
    program = nitro_cli(tmp_path, f"echo $$ > {pid}; printf '[]'; exec sleep 1000")
    with pytest.raises(DiscoveryError, match="does not answer"):
        await describe_enclaves(program)
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid.read_text()), 0)


async def test_what_nitro_cli_started_ends_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(discovery, "_PATIENCE", 0.3)
    program = nitro_cli(tmp_path, "sleep 1000 & printf '[]'")
    with pytest.raises(DiscoveryError, match="does not answer"):
        await asyncio.wait_for(describe_enclaves(program), 60)


async def test_a_failure_in_between_changes_nothing(tmp_path: Path) -> None:
    answer = tmp_path / "answer"
    program = nitro_cli(tmp_path, f"cat {answer}")
    heard: list[list[Address]] = []
    more = asyncio.Event()

    def found(addresses: Iterable[Address]) -> None:
        heard.append(list(addresses))
        if len(heard) == 1:
            answer.unlink()
            asyncio.get_running_loop().call_later(
                0.1, answer.write_text, json.dumps([described(20)])
            )
        else:
            more.set()

    answer.write_text(json.dumps([described(19)]))
    task = asyncio.create_task(follow(program, 5005, 0.01, found))
    await asyncio.wait_for(more.wait(), 10)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert heard[:2] == [[VsockAddress(19, 5005)], [VsockAddress(20, 5005)]]


async def test_the_gateway_follows_nitro_cli(tmp_path: Path) -> None:
    program = nitro_cli(tmp_path, f"echo '{json.dumps([described(21)])}'")
    async with serve_gateway(nitro_cli=program, nitro_port=77, discovery_period=0.02) as served:
        await served.until(lambda: bool(served.pool.machine.endpoints))
        (endpoint,) = served.pool.machine.endpoints
        assert endpoint.address == VsockAddress(21, 77)
        nitro_cli(tmp_path, "echo '[]'")
        await served.until(lambda: not served.pool.machine.endpoints)
