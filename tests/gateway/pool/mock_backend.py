"""Enclaves in memory: streams without sockets, answers by script."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import cbor2

from blindgate.errors import BlindgateError
from blindgate.link import Address, AnswerHeader, DialError, Operation, Outcome, RequestHeader
from blindgate.link.frames import Params
from gateway.pool import Chunks, Exchange, StreamLost, Verified

Script = Callable[["MockStream", RequestHeader, bytes], Awaitable[Exchange]]


def answer(
    header: RequestHeader,
    outcome: Outcome = Outcome.OK,
    body: bytes = b"",
    *,
    reusable: bool = True,
) -> Exchange:
    return Exchange(AnswerHeader(header.request_id, outcome, len(body)), body, reusable)


@dataclass
class MockEnclave:
    """What one address does."""

    listens: bool = True
    genuine: bool = True
    status: dict[str, Any] = field(default_factory=dict)
    key_ids: tuple[int, ...] = (1,)
    script: Script | None = None
    streams: list[MockStream] = field(default_factory=list)
    seen: list[tuple[Operation, Params, bytes]] = field(default_factory=list)
    headers: list[RequestHeader] = field(default_factory=list)

    def operations(self) -> list[Operation]:
        return [operation for operation, _, _ in self.seen]

    @property
    def open_streams(self) -> list[MockStream]:
        return [stream for stream in self.streams if not stream.closed]

    def die(self) -> None:
        """As if killed: nobody listens and every connection ends."""
        self.listens = False
        for stream in self.open_streams:
            stream.end()


class MockStream:
    def __init__(self, enclave: MockEnclave, on_lost: Callable[[], None]) -> None:
        self.enclave = enclave
        self.closed = False
        self.busy = False
        self.operations: list[Operation] = []
        self._on_lost = on_lost
        self._ended = asyncio.Event()
        enclave.streams.append(self)

    async def exchange(self, header: RequestHeader, body: Chunks) -> Exchange:
        assert not self.busy, "a connection carries one request at a time"
        if self.closed:
            raise StreamLost("closed", untouched=True)
        self.busy = True
        self.operations.append(header.operation)
        self.enclave.headers.append(header)
        joined = b"".join(bytes(piece) for piece in body)
        self.enclave.seen.append((header.operation, header.params, joined))
        work = asyncio.ensure_future(self._answer(header, joined))
        ended = asyncio.ensure_future(self._ended.wait())
        try:
            await asyncio.wait({work, ended}, return_when=asyncio.FIRST_COMPLETED)
            if not work.done():
                raise StreamLost("ended")
            return work.result()
        finally:
            self.busy = False
            work.cancel()
            ended.cancel()
            await asyncio.gather(work, ended, return_exceptions=True)

    async def _answer(self, header: RequestHeader, body: bytes) -> Exchange:
        match header.operation:
            case Operation.ATTEST:
                nonce = header.params["nonce"]
                assert isinstance(nonce, bytes)
                genuine = b"genuine" if self.enclave.genuine else b"another"
                return answer(header, body=genuine + nonce)
            case Operation.STATUS:
                status = {"ready": True, "key_ids": bytes(self.enclave.key_ids), "threads": 1}
                return answer(header, body=cbor2.dumps(status | self.enclave.status))
            case Operation.KEYS:
                return answer(header, body=b"keys" + bytes(self.enclave.key_ids))
        if self.enclave.script is not None:
            return await self.enclave.script(self, header, body)
        return answer(header, body=b"answer")

    def close(self) -> None:
        self.closed = True
        self._ended.set()

    def end(self) -> None:
        """The other side closes it."""
        if not self.closed:
            self.close()
            self._on_lost()


class MockBackend:
    def __init__(self, **enclaves: MockEnclave) -> None:
        self.enclaves = enclaves
        self.dials = 0

    async def open(self, address: Address, on_lost: Callable[[], None]) -> MockStream:
        self.dials += 1
        await asyncio.sleep(0)
        enclave = self.enclaves[str(address).removeprefix("unix:///")]
        if not enclave.listens:
            raise DialError("nobody listens")
        return MockStream(enclave, on_lost)


def verify(document: bytes, nonce: bytes) -> Verified:
    if document != b"genuine" + nonce:
        raise BlindgateError("not one of ours")
    return Verified("release", bytes(48))
