"""An enclave that speaks the real frames over a Unix socket and does as it is told.

It attests with the dev NSM, so that the gateway's real verifier is what lets it take traffic.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import cbor2

from blindgate.attestation import PcrSet, Trust, UserData
from blindgate.link import AnswerHeader, Operation, Outcome, RequestHeader, UnixAddress
from devstack.nsm import DevNsm, DevRoot

PCRS = {index: bytes([index + 1]) * 48 for index in range(3)}
OTHER_PCRS = {index: bytes([index + 101]) * 48 for index in range(3)}
MODULE_ID = "i-0123456789abcdef0-enc0123456789abcdef"
#: One key configuration: id 7, X25519, a public key of zeros, HKDF-SHA256 with AES-128-GCM.
CONFIG = bytes([7]) + struct.pack(">H", 0x0020) + bytes(32) + struct.pack(">HHH", 4, 1, 1)

Handler = Callable[[RequestHeader, bytes], Awaitable[tuple[Outcome, bytes]]]


@cache
def dev_root() -> DevRoot:
    return DevRoot.generate()


def trust() -> Trust:
    return Trust(dev_root().root, (PcrSet("release", PCRS),))


def keys_body(*key_ids: int) -> bytes:
    configs = [bytes([key_id]) + CONFIG[1:] for key_id in key_ids]
    return b"".join(struct.pack(">H", len(config)) + config for config in configs)


@dataclass
class FakeWorker:
    """One enclave.

    `answers` says what to do with each operation; what is not there gets a plain `ok`.
    """

    address: UnixAddress
    pcrs: dict[int, bytes] = field(default_factory=lambda: dict(PCRS))
    key_ids: tuple[int, ...] = (7,)
    status: dict[str, Any] = field(default_factory=dict)
    answers: dict[Operation, Handler] = field(default_factory=dict)
    requests: list[tuple[RequestHeader, bytes]] = field(default_factory=list)
    connections: set[asyncio.StreamWriter] = field(default_factory=set)
    accepted: int = 0
    cancelled: asyncio.Event = field(default_factory=asyncio.Event)
    frozen: asyncio.Event = field(default_factory=asyncio.Event)
    # Parameters of its answers.
    params: dict[Operation, dict[str, Any]] = field(default_factory=dict)
    # Told each header; True has the connection reset before the body is read.
    resets: Callable[[RequestHeader], bool] = lambda _: False
    _server: asyncio.Server | None = None
    _nsm: DevNsm | None = None

    def of(self, operation: Operation) -> list[tuple[RequestHeader, bytes]]:
        return [request for request in self.requests if request[0].operation is operation]

    async def start(self) -> None:
        self._nsm = DevNsm(dev_root(), MODULE_ID, self.pcrs)
        self._server = await asyncio.start_unix_server(
            self._serve, self.address.path, limit=64 * 1024 * 1024
        )

    async def stop(self) -> None:
        """As if killed: every connection ends at once."""
        if self._server is not None:
            self._server.close()
            for writer in list(self.connections):
                writer.transport.abort()
            with contextlib.suppress(FileNotFoundError):
                Path(self.address.path).unlink()
            self._server = None
            await asyncio.sleep(0)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections.add(writer)
        self.accepted += 1
        try:
            while True:
                (length,) = struct.unpack(">I", await reader.readexactly(4))
                header = RequestHeader.decode(await reader.readexactly(length))
                if self.resets(header):
                    writer.transport.abort()
                    return
                body = await reader.readexactly(header.body_length)
                self.requests.append((header, body))
                while self.frozen.is_set():
                    await asyncio.sleep(0.01)
                outcome, answer = await self._answer_unless_closed(reader, header, body)
                params = self.params.get(header.operation, {})
                answered = AnswerHeader(header.request_id, outcome, len(answer), params)
                writer.write(answered.encode())
                writer.write(answer)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self.connections.discard(writer)
            writer.close()

    async def _answer_unless_closed(
        self, reader: asyncio.StreamReader, header: RequestHeader, body: bytes
    ) -> tuple[Outcome, bytes]:
        work = asyncio.ensure_future(self._answer(header, body))
        closed = asyncio.ensure_future(reader.read(1))
        await asyncio.wait({work, closed}, return_when=asyncio.FIRST_COMPLETED)
        if not work.done():
            work.cancel()
            self.cancelled.set()
            raise ConnectionError
        closed.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await closed
        return work.result()

    async def _answer(self, header: RequestHeader, body: bytes) -> tuple[Outcome, bytes]:
        if (handler := self.answers.get(header.operation)) is not None:
            return await handler(header, body)
        match header.operation:
            case Operation.ATTEST:
                return Outcome.OK, self._document(header)
            case Operation.KEYS:
                return Outcome.OK, keys_body(*self.key_ids)
            case Operation.STATUS:
                return Outcome.OK, cbor2.dumps(self._status())
            case Operation.DETECT:
                return Outcome.OK, b'{"detections":[]}'
            case _:
                return Outcome.OK, b""

    def _document(self, header: RequestHeader) -> bytes:
        nonce = header.params["nonce"]
        assert self._nsm is not None
        assert isinstance(nonce, bytes)
        digest = hashlib.sha256(keys_body(*self.key_ids)).digest()
        user_data = UserData(keys=digest, model=bytes(32), config=bytes(32)).encode()
        return self._nsm.attest(user_data=user_data, nonce=nonce)

    def _status(self) -> dict[str, Any]:
        return {
            "ready": True,
            "draining": False,
            "needs_credentials": False,
            "answers": "open",
            "model": {"name": "fake", "version": "1", "labels": ["airplane", "cat"]},
            "key_ids": bytes(self.key_ids),
            "queued": 0,
            "busy": 0,
            "threads": 2,
            **self.status,
        }


@asynccontextmanager
async def running(path: Path, **how: Any) -> AsyncIterator[FakeWorker]:
    worker = FakeWorker(UnixAddress(str(path)), **how)
    await worker.start()
    try:
        yield worker
    finally:
        await worker.stop()
