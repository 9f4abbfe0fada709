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
from blindgate.client.httpx_bridge import (
    SealingTransport,
    append_chunk,
    httpx_request,
    refuse_encoding,
)
from blindgate.client.request import GatewayRequest, GatewayResponse, Response
from blindgate.client.session import Renew, VerifiedEnclave

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Any, Self

    from blindgate.client.trust import TrustLike


class AsyncOhttpTransport(SealingTransport, httpx.AsyncBaseTransport):
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
        self._check_origin(request)
        try:
            return self._as_httpx(await self.exchange(request), request)
        except ProblemError as problem:
            return self._unavailable(problem, request)

    async def exchange(self, request: httpx.Request) -> Response:
        """As `handle_async_request`, but a gateway without an enclave raises `ProblemError`."""
        extensions = dict(request.extensions)
        flow = self.session.exchange(request, await request.aread())
        step = next(flow)
        while True:
            received = (
                await self.verify(step.stale, step.headers, extensions)
                if isinstance(step, Renew)
                else await self._send(step, extensions)
            )
            try:
                step = flow.send(received)
            except StopIteration as done:
                response: Response = done.value
                return response

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

    async def _send(self, request: GatewayRequest, extensions: dict[str, Any]) -> GatewayResponse:
        return await async_send(self._transport, self.gateway, request, extensions)

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


class AsyncClientTransport(httpx.AsyncBaseTransport):
    """An `httpx.AsyncClient` as a transport, so that its proxies, hooks and credentials apply."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self._client = client

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request, and return its response before the body is read."""
        return await self._client.send(request, stream=True, follow_redirects=False)


async def async_send(
    transport: httpx.AsyncBaseTransport,
    gateway: httpx.URL,
    request: GatewayRequest,
    extensions: dict[str, Any],
) -> GatewayResponse:
    """Send one request to the gateway and read its response.

    Args:
        transport: Carries the request.
        gateway: The gateway's origin.
        request: The request as the gateway sees it.
        extensions: httpx's extensions, such as timeouts.

    Raises:
        AnswerRejected: The response is compressed or too large.
    """
    response = await transport.handle_async_request(httpx_request(gateway, request, extensions))
    content = bytearray()
    try:
        refuse_encoding(response)
        async for chunk in response.aiter_bytes():
            append_chunk(content, chunk)
    finally:
        await response.aclose()
    return GatewayResponse(response.status_code, response.headers, bytes(content))
