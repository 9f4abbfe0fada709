"""httpx transports that seal: one changed line makes any httpx-based client a sealing client.

```python
transport = AsyncOhttpTransport("https://gateway.example", trust="pcrs.json")
client = httpx.AsyncClient(transport=transport)
await client.post("https://gateway.example/v1/detections", content=photo)
```

A response comes from the enclave: a problem that the gateway reports outside the seal is raised as
`GatewayProblem`, which is an `httpx.TransportError`. With `allow_unsealed=True` it is returned as a
response like any other, and `response.extensions["blindgate_sealed"]` distinguishes the two.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import httpx

from blindgate.client.concurrency import AsyncLock
from blindgate.client.errors import ProblemError
from blindgate.client.httpx_side import Sealing, append, refuse_encoding
from blindgate.client.messages import Answer, Outgoing, Reply
from blindgate.client.session import Renew, VerifiedEnclave

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Any, Self

    from blindgate.client.trust import TrustLike


class AsyncOhttpTransport(Sealing, httpx.AsyncBaseTransport):
    """Seals every request to one gateway; requests to anywhere else are refused.

    Args:
        gateway: The gateway's origin.
        trust: What to trust; see `blindgate.client.trust.resolve`.
        transport: What carries the sealed bytes; `httpx.AsyncHTTPTransport()` if omitted.
        allow_unsealed: Return problems (4xx, 5xx) that the gateway reports outside the seal as
            responses, with `extensions["blindgate_sealed"]` False. Otherwise they are raised:
            code that checks only the status would take them for the enclave's.

    Raises:
        InvalidTrust: The trust policy accepts no enclave.
        InvalidGateway: The URL is not an origin.
    """

    def __init__(
        self,
        gateway: httpx.URL | str,
        *,
        trust: TrustLike,
        transport: httpx.AsyncBaseTransport | None = None,
        allow_unsealed: bool = False,
    ) -> None:
        super().__init__(gateway, trust, allow_unsealed=allow_unsealed)
        self._transport = httpx.AsyncHTTPTransport() if transport is None else transport
        self._lock = AsyncLock()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send one request sealed.

        Raises:
            VerificationFailed: The enclave is not one that we trust; nothing was sent to it.
            AnswerRejected: The response does not belong to this request.
            GatewayProblem: The gateway reported a problem outside the seal.
            NotSealed: The request is for another origin.
        """
        self._refuse_elsewhere(request)
        try:
            return self._received(await self.exchange(request), request)
        except ProblemError as problem:
            return self._unavailable(problem, request)

    async def exchange(self, request: httpx.Request) -> Answer:
        """As `handle_async_request`, but a gateway without an enclave raises `ProblemError`."""
        extensions = dict(request.extensions)
        flow = self.session.exchange(request, await request.aread())
        step = next(flow)
        while True:
            given = (
                await self.verify(step.stale, step.headers, extensions)
                if isinstance(step, Renew)
                else await self._send(step, extensions)
            )
            try:
                step = flow.send(given)
            except StopIteration as done:
                answer: Answer = done.value
                return answer

    async def verify(
        self,
        stale: VerifiedEnclave | None = None,
        headers: tuple[tuple[str, str], ...] = (),
        extensions: dict[str, Any] | None = None,
    ) -> VerifiedEnclave:
        """The verified enclave; it is verified again if there is none, or only `stale`.

        Raises:
            VerificationFailed: The enclave is not one that we trust.
            ProblemError: The gateway has no enclave to offer.
        """
        if enclave := self.session.usable(stale):
            return enclave
        # Concurrent requests that find a stale key verify once, not each.
        async with self._lock:
            if enclave := self.session.usable(stale):
                return enclave
            flow = self.session.verify(headers)
            step = next(flow)
            while True:
                try:
                    step = flow.send(await self._send(step, extensions or {}))
                except StopIteration as done:
                    verified: VerifiedEnclave = done.value
                    return verified

    async def _send(self, step: Outgoing, extensions: dict[str, Any]) -> Reply:
        response = await self._transport.handle_async_request(self._outgoing(step, extensions))
        content = bytearray()
        try:
            refuse_encoding(response)
            async for chunk in response.aiter_bytes():
                append(content, chunk)
        finally:
            await response.aclose()
        return Reply(response.status_code, response.headers, bytes(content))

    async def __aenter__(self) -> Self:
        await self._transport.__aenter__()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None = None,
        exc_value: BaseException | None = None,
        traceback: TracebackType | None = None,
    ) -> None:
        await self._transport.__aexit__(exc_type, exc_value, traceback)

    async def aclose(self) -> None:
        """Close the transport underneath."""
        await self._transport.aclose()
