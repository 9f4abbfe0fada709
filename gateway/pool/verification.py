"""The check that every connection passes before it carries traffic."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from blindgate.errors import BlindgateError
from blindgate.link import Operation, Outcome, RequestHeader
from blindgate.link.frames import REQUEST_ID_BYTES, Params
from gateway.pool.backend import Chunks, Exchange, Stream
from gateway.pool.errors import EnclaveRefused, StreamLost

#: As long as a SHA-256; the module takes up to 512 bytes.
_NONCE_BYTES: Final = 32


@dataclass(frozen=True, slots=True)
class Verified:
    """What an attestation document proved.

    Attributes:
        pcr_set: Name of the set of measurements that it matches.
        pcr0: The image's measurement.
    """

    pcr_set: str
    pcr0: bytes


#: (document, nonce) -> what it proves. Raises a `BlindgateError` if it does not pass.
Verify = Callable[[bytes, bytes], Verified]


async def call(
    stream: Stream,
    operation: Operation,
    within: float,
    *,
    params: Params | None = None,
    body: Chunks = (),
) -> Exchange:
    """Ask something on a connection that nobody else uses.

    Raises:
        StreamLost: No answer came within so many seconds, or the connection ended.
        EnclaveRefused: The answer is not `ok`.
    """
    request_id = secrets.token_bytes(REQUEST_ID_BYTES)
    length = sum(map(len, body))
    header = RequestHeader(operation, request_id, int(within * 1000), length, params or {})
    try:
        async with asyncio.timeout(within):
            exchange = await stream.exchange(header, body)
    except TimeoutError:
        stream.close()
        raise StreamLost(f"no answer to {operation} within {within:g} s") from None
    if exchange.header.outcome is not Outcome.OK:
        raise EnclaveRefused(f"the enclave answered {operation} with {exchange.header.outcome}")
    return exchange


async def attest(stream: Stream, verify: Verify, within: float) -> Verified:
    """Have the enclave prove what it is, over this very connection and with a fresh nonce.

    Raises:
        StreamLost: As for `call`, or the enclave gives no document now.
        EnclaveRefused: The document does not pass.
    """
    nonce = secrets.token_bytes(_NONCE_BYTES)
    try:
        exchange = await call(stream, Operation.ATTEST, within, params={"nonce": nonce})
    except EnclaveRefused as error:
        # A security module with too much to do says nothing against the enclave.
        raise StreamLost(str(error)) from None
    try:
        # Three milliseconds of signatures: other requests should not wait for them.
        return await asyncio.to_thread(verify, bytes(exchange.body), nonce)
    except BlindgateError as error:
        raise EnclaveRefused(str(error)) from error
