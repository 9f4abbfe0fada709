"""httpx transports that seal: one changed line makes any httpx-based client a sealed one.

```python
client = httpx.Client(transport=OhttpTransport("https://gateway.example", trust="pcrs.json"))
client.post("https://gateway.example/v1/detections", content=photo)
```

A response is the enclave's: a problem that the gateway reports outside the seal is raised as
`GatewayProblem`, which is an `httpx.TransportError`. With `allow_unsealed=True` it is a response
like any other, and `response.extensions["blindgate_sealed"]` tells the two apart.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import httpx

from blindgate.client.errors import ProblemError
from blindgate.client.httpx_side import Sealing, append, refuse_encoding
from blindgate.client.messages import Answer, Outgoing, Reply
from blindgate.client.session import Renew, VerifiedEnclave

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Any, Self

    from blindgate.client.trust import TrustLike


class OhttpTransport(Sealing, httpx.BaseTransport):
    """Seals every request to one gateway; requests to anywhere else are refused.

    Args:
        gateway: The gateway's origin.
        trust: What to trust; see `blindgate.client.trust.resolve`.
        transport: What carries the sealed bytes; `httpx.HTTPTransport()` if left out.
        allow_unsealed: Give problems (4xx, 5xx) that the gateway reports outside the seal as
            responses, with `extensions["blindgate_sealed"]` False. Otherwise they are raised:
            code that looks at the status alone would take them for the enclave's.

    Raises:
        InvalidTrust: Nothing would be trusted.
        InvalidGateway: The URL is not an origin.
    """

    def __init__(
        self,
        gateway: httpx.URL | str,
        *,
        trust: TrustLike,
        transport: httpx.BaseTransport | None = None,
        allow_unsealed: bool = False,
    ) -> None:
        super().__init__(gateway, trust, allow_unsealed=allow_unsealed)
        self._transport = httpx.HTTPTransport() if transport is None else transport
        self._lock = threading.Lock()

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Send one request sealed.

        Raises:
            VerificationFailed: The enclave is not one that we trust; nothing was sent to it.
            AnswerRejected: What came back is no answer to this request.
            GatewayProblem: The gateway reported a problem outside the seal.
            NotSealed: The request goes elsewhere.
        """
        self._refuse_elsewhere(request)
        try:
            return self._received(self.exchange(request), request)
        except ProblemError as problem:
            return self._unavailable(problem, request)

    def exchange(self, request: httpx.Request) -> Answer:
        """As `handle_request`, but a gateway without an enclave is a `ProblemError`."""
        extensions = dict(request.extensions)
        flow = self.session.exchange(request, request.read())
        step = next(flow)
        while True:
            given = (
                self.verify(step.stale, step.headers, extensions)
                if isinstance(step, Renew)
                else self._send(step, extensions)
            )
            try:
                step = flow.send(given)
            except StopIteration as done:
                answer: Answer = done.value
                return answer

    def verify(
        self,
        stale: VerifiedEnclave | None = None,
        headers: tuple[tuple[str, str], ...] = (),
        extensions: dict[str, Any] | None = None,
    ) -> VerifiedEnclave:
        """The verified enclave; verified anew if there is none, or only `stale`.

        Raises:
            VerificationFailed: The enclave is not one that we trust.
            ProblemError: The gateway has none to offer.
        """
        if enclave := self.session.usable(stale):
            return enclave
        with self._lock:  # Many threads that find a stale key verify once, not each.
            if enclave := self.session.usable(stale):
                return enclave
            flow = self.session.verify(headers)
            step = next(flow)
            while True:
                try:
                    step = flow.send(self._send(step, extensions or {}))
                except StopIteration as done:
                    verified: VerifiedEnclave = done.value
                    return verified

    def _send(self, step: Outgoing, extensions: dict[str, Any]) -> Reply:
        response = self._transport.handle_request(self._outgoing(step, extensions))
        content = bytearray()
        try:
            refuse_encoding(response)
            for chunk in response.iter_bytes():
                append(content, chunk)
        finally:
            response.close()
        return Reply(response.status_code, response.headers, bytes(content))

    def __enter__(self) -> Self:
        self._transport.__enter__()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None = None,
        exc_value: BaseException | None = None,
        traceback: TracebackType | None = None,
    ) -> None:
        self._transport.__exit__(exc_type, exc_value, traceback)

    def close(self) -> None:
        """Close the transport underneath."""
        self._transport.close()
