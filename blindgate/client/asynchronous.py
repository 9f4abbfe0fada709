"""`AsyncBlindgate`: the same for asyncio."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING

import httpx

from blindgate.client import photos
from blindgate.client.asking import (
    CONCURRENCY,
    TIMEOUT,
    credentials,
    detection_request,
    progress,
)
from blindgate.client.async_transport import AsyncOhttpTransport
from blindgate.client.messages import outer_fields
from blindgate.client.photos import PhotoResult, PhotoSource
from blindgate.client.reaching import Reachable
from blindgate.errors import BlindgateError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
    from typing import Self

    from blindgate.client.asking import Progress
    from blindgate.client.session import VerifiedEnclave
    from blindgate.client.trust import TrustLike
    from blindgate.detections import Detections, DetectOptions


class AsyncBlindgate:
    """`Blindgate` for asyncio: the same arguments, the same errors, `await` before each call.

    Args:
        url: The gateway's origin.
        trust: As for `Blindgate`.
        api_key: As for `Blindgate`.
        token: As for `Blindgate`.
        http: An `httpx.AsyncClient` to send with; it is not closed.
    """

    def __init__(
        self,
        url: str | httpx.URL,
        *,
        trust: TrustLike,
        api_key: str | None = None,
        token: str | None = None,
        http: httpx.AsyncClient | None = None,
    ) -> None:
        self._signed = credentials(api_key=api_key, token=token)
        self._http = http or httpx.AsyncClient(timeout=TIMEOUT)
        self._owns_http = http is None
        self._transport = AsyncOhttpTransport(
            url, trust=trust, transport=_ThroughAsyncClient(self._http)
        )

    def __repr__(self) -> str:
        return f"<AsyncBlindgate {self._transport!r}>"

    @property
    def enclave(self) -> VerifiedEnclave | None:
        """The enclave that was verified last, or None."""
        return self._transport.enclave

    async def verify(self) -> VerifiedEnclave:
        """Verify the enclave now; see `Blindgate.verify`."""
        request = self._http.build_request("GET", self._transport.gateway, headers=self._signed)
        with Reachable(self._transport.gateway):
            return await self._transport.verify(
                self._transport.enclave, outer_fields(request.headers), dict(request.extensions)
            )

    async def detect(
        self,
        photo: PhotoSource,
        *,
        min_score: float | None = None,
        max_detections: int | None = None,
        classes: Sequence[str] | str | None = None,
        tiles: int | None = None,
    ) -> Detections:
        """Find objects in one photo; see `Blindgate.detect`."""
        return await self._detect(photo, photos.options(min_score, max_detections, classes, tiles))

    def detect_many(
        self,
        many: Iterable[PhotoSource],
        *,
        concurrency: int = CONCURRENCY,
        on_progress: Progress | None = None,
        min_score: float | None = None,
        max_detections: int | None = None,
        classes: Sequence[str] | str | None = None,
        tiles: int | None = None,
    ) -> AsyncIterator[PhotoResult]:
        """Find objects in many photos; see `Blindgate.detect_many`."""
        chosen = photos.options(min_score, max_detections, classes, tiles)
        many = photos.several(many, concurrency)
        report = progress(many, on_progress)
        return self._many(iter(many), chosen, concurrency, report)

    async def aclose(self) -> None:
        """Close the connections, unless they are those of a client that was passed in."""
        if self._owns_http:
            await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def _detect(self, photo: PhotoSource, chosen: DetectOptions) -> Detections:
        content = await asyncio.to_thread(photos.read, photo)
        request = detection_request(
            self._http, self._transport.gateway, content, chosen, self._signed
        )
        with Reachable(self._transport.gateway):
            return photos.detections(await self._transport.exchange(request))

    async def _many(
        self,
        many: Iterator[PhotoSource],
        chosen: DetectOptions,
        concurrency: int,
        report: Callable[[], None],
    ) -> AsyncIterator[PhotoResult]:
        running = asyncio.Semaphore(concurrency)

        async def one(photo: PhotoSource) -> PhotoResult:
            async with running:
                try:
                    return PhotoResult(photo, await self._detect(photo, chosen))
                except (BlindgateError, OSError) as error:
                    return PhotoResult(photo, None, error)

        waiting: deque[asyncio.Task[PhotoResult]] = deque()
        try:
            for photo in many:
                waiting.append(asyncio.create_task(one(photo)))
                if len(waiting) >= 2 * concurrency:
                    yield await waiting.popleft()
                    report()
            while waiting:
                yield await waiting.popleft()
                report()
        finally:
            for task in waiting:
                task.cancel()
            await asyncio.gather(*waiting, return_exceptions=True)


class _ThroughAsyncClient(httpx.AsyncBaseTransport):
    """An `httpx.AsyncClient` as a transport."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self._client = client

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        return await self._client.send(request, stream=True, follow_redirects=False)
