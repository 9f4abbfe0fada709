"""What a sealed request costs the gateway alone: `python -m bench.gateway [--kilobytes 300]`.

The gateway runs as it does in production, with a stand-in for the enclave that answers at once,
so that nothing else uses its caches: what `make bench` shows beside the real worker is about
twice as much. CPU time of that one process, user and system, the least of several rounds.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import os
import struct
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Final

import cbor2
import httpx

from bench.load.generator import run
from bench.load.processes import cpu_seconds
from bench.load.wire import Message, post
from blindgate.attestation import UserData
from blindgate.link import AnswerHeader, Operation, Outcome, RequestHeader
from blindgate.sealing import padding
from devstack.nsm import DevNsm, DevRoot
from devstack.stack import free_port

_PCRS: Final = {index: bytes([index + 1]) * 48 for index in range(3)}
_KEY_ID: Final = 7
#: One key configuration: X25519, a public key of zeros, HKDF-SHA256 with AES-128-GCM.
_CONFIG: Final = struct.pack(">BH32sHHH", _KEY_ID, 0x0020, bytes(32), 4, 1, 1)
_KEYS: Final = struct.pack(">H", len(_CONFIG)) + _CONFIG
_STATUS: Final = {
    "ready": True,
    "draining": False,
    "needs_credentials": False,
    "answers": "open",
    "model": {"name": "none", "version": "1", "labels": []},
    "key_ids": bytes([_KEY_ID]),
    "queued": 0,
    "busy": 0,
    "threads": 2,
}
#: As long as a sealed answer: nonce, padded answer, tag (RFC 9458 §4.4).
_ANSWER: Final = bytes(32 + padding.ANSWER_BUCKETS[0] + 16)
_PATIENCE: Final = 20.0


class StandIn:
    """An enclave that passes for one and does no work.

    Args:
        folder: For its socket, and for what the gateway must know of it.
    """

    def __init__(self, folder: Path) -> None:
        self.address = f"unix://{folder}/enclave"
        root = DevRoot.generate()
        self._nsm = DevNsm(root, "i-0123456789abcdef0-enc0123456789abcdef", _PCRS)
        (folder / "root.pem").write_bytes(root.pem)
        pcrs = {f"PCR{index}": value.hex() for index, value in _PCRS.items()}
        (folder / "pcrs.json").write_text(json.dumps(pcrs))
        listening = threading.Event()
        threading.Thread(
            target=lambda: asyncio.run(self._listen(str(folder / "enclave"), listening)),
            daemon=True,
        ).start()
        listening.wait()

    async def _listen(self, path: str, listening: threading.Event) -> None:
        server = await asyncio.start_unix_server(self._serve, path, limit=64 * 1024 * 1024)
        listening.set()
        await server.serve_forever()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                (length,) = struct.unpack(">I", await reader.readexactly(4))
                header = RequestHeader.decode(await reader.readexactly(length))
                await reader.readexactly(header.body_length)
                answer = self._answer(header)
                writer.write(AnswerHeader(header.request_id, Outcome.OK, len(answer)).encode())
                writer.write(answer)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    def _answer(self, header: RequestHeader) -> bytes:
        match header.operation:
            case Operation.ATTEST:
                user_data = UserData(hashlib.sha256(_KEYS).digest(), bytes(32), bytes(32)).encode()
                nonce = header.params["nonce"]
                return self._nsm.attest(
                    user_data=user_data, nonce=nonce if isinstance(nonce, bytes) else None
                )
            case Operation.KEYS:
                return _KEYS
            case Operation.STATUS:
                return cbor2.dumps(_STATUS)
            case _:
                return _ANSWER


def start(folder: Path, enclave: StandIn, port: int) -> subprocess.Popen[bytes]:
    """Start a gateway and wait until it takes requests.

    Raises:
        TimeoutError: It does not.
    """
    environment = {
        **os.environ,
        "BLINDGATE_PORT": str(port),
        "BLINDGATE_ENCLAVES": enclave.address,
        "BLINDGATE_PCRS": str(folder / "pcrs.json"),
        "BLINDGATE_ROOT": str(folder / "root.pem"),
    }
    with (folder / "gateway.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "gateway"], env=environment, stdout=log, stderr=log
        )
    ends = time.monotonic() + _PATIENCE
    while time.monotonic() < ends and process.poll() is None:
        try:
            if httpx.get(f"http://127.0.0.1:{port}/readyz", trust_env=False).is_success:
                return process
        except httpx.TransportError:
            pass
        time.sleep(0.1)
    process.kill()
    raise TimeoutError((folder / "gateway.log").read_text(errors="replace")[-400:])


def measure(pid: int, port: int, size: int, rounds: int, count: int) -> float:
    """CPU milliseconds of a request with a body of `size` bytes, 8 at a time."""
    body = bytes([_KEY_ID]) + bytes(size - 1)
    messages: list[Message] = [post("/.well-known/ohttp-gateway", body, "message/ohttp-req")]
    messages *= count
    run(port, messages, 8)
    best = float("inf")
    for _ in range(rounds):
        before = cpu_seconds([pid])
        done = run(port, messages, 8)
        best = min(best, cpu_seconds([pid]) - before)
        if wrong := {outcome.status for outcome in done.outcomes} - {200}:
            raise RuntimeError(f"the gateway answered {wrong}")
    return best / count * 1000


def positive(text: str) -> int:
    """A number above zero, for argparse, whose message names this function.

    Raises:
        ArgumentTypeError: Another number.
    """
    if (value := int(text)) < 1:
        raise argparse.ArgumentTypeError(f"{value} is not above zero")
    return value


def main() -> None:
    """Print what a request costs, and how much of it is for its body."""
    parser = argparse.ArgumentParser(prog="bench.gateway", description=__doc__)
    parser.add_argument("--kilobytes", type=positive, action="append", help="only these sizes")
    parser.add_argument("--rounds", type=positive, default=5)
    parser.add_argument("--count", type=positive, default=600, help="requests a round")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bg-bench-") as name:
        folder, port = Path(name), free_port()
        process = start(folder, StandIn(folder), port)
        try:
            for kilobytes in given.kilobytes or (1, 300, 3000):
                cost = measure(process.pid, port, kilobytes * 1000, given.rounds, given.count)
                print(f"{kilobytes:5} KB: {cost:.2f} ms of the gateway's CPU")
        finally:
            process.terminate()
            process.wait()


if __name__ == "__main__":
    main()
