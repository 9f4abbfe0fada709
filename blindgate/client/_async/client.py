"""The client of a gateway: verify its enclave, seal images to it, receive detections."""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING

import httpx

from blindgate.client import images
from blindgate.client._async.transport import AsyncClientTransport, AsyncOhttpTransport
from blindgate.client.concurrency import async_call_blocking, async_map_in_order
from blindgate.client.httpx_bridge import translated_errors
from blindgate.client.images import PhotoResult, PhotoSource
from blindgate.client.request import (
    CONCURRENCY,
    TIMEOUT,
    credentials,
    detection_request,
    options,
    outer_fields,
    parse_detections,
)
from blindgate.errors import BlindgateError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, Sequence
    from typing import Self

    from blindgate.client.images import Progress
    from blindgate.client.session import VerifiedEnclave
    from blindgate.client.trust import TrustLike
    from blindgate.detections import Detections, DetectOptions


class AsyncBlindgate:
    """A client of one gateway that sends photos to verified enclaves only.

    ```python
    async with AsyncBlindgate("https://gateway.example", trust="release-7-pcrs.json") as blindgate:
        found = await blindgate.detect("photo.jpg")
        for each in found.detections:
            print(each.label, each.score)
    ```

    One instance may be used concurrently.

    Args:
        url: The gateway's origin.
        trust: Which enclaves to trust: the path of a PCR file (or several: one of them must
            match), a `Trust`, or `"development"` for the local stack. There is no default.
        api_key: Signs in with an API key of the gateway.
        token: Signs in with a token of the identity provider that the gateway trusts.
        http: An `httpx.AsyncClient` to send with, for proxies, certificates, credentials; it is
            not closed. Its default headers are sent too: `authorization` and the like outside the
            seal.

    Raises:
        InvalidTrust: The trust policy accepts no enclave.
        InvalidGateway: The URL is not an origin.
        InvalidCredentials: Both `api_key` and `token` are given, or one that cannot be sent.
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
            url, trust=trust, transport=AsyncClientTransport(self._http)
        )

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._transport!r}>"

    @property
    def enclave(self) -> VerifiedEnclave | None:
        """The enclave that was verified last, or None."""
        return self._transport.enclave

    async def verify(self) -> VerifiedEnclave:
        """Verify the enclave now, even if one is verified already.

        Raises:
            VerificationFailed: The enclave is not one that we trust.
            ProblemError: The gateway has no enclave to offer.
            GatewayUnreachable: There was no response from the gateway.
        """
        request = self._http.build_request("GET", self._transport.gateway, headers=self._signed)
        with translated_errors(self._transport.gateway):
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
        """Find objects in one photo.

        Args:
            photo: A path, bytes or an open binary file: an image, or one that was encrypted
                with `blindgate encrypt`. A PIL image or a numpy array (uint8, RGB) is sent as a
                PNG of its stored pixels: no EXIF orientation is applied.
            min_score: Omit objects that score less, 0 to 1; the model's default if None.
            max_detections: At most this many, best first.
            classes: Only objects with these labels: a sequence, or a text with commas.
            tiles: Analyse tiles x tiles parts of the image in addition to the whole, 1 to 3.

        Raises:
            VerificationFailed: The enclave is not one that we trust; the photo was not sent.
            ProblemError: The service refused the request; `slug` says why, e.g. `image-rejected`.
            GatewayUnreachable: There was no response from the gateway.
            AnswerRejected: The response does not belong to this request.
            OSError: The photo cannot be read.
            InvalidPhoto: It is empty, or of a format that the enclave does not open.
            UnsupportedSource: It is not one of the types of `PhotoSource`.
            InvalidOptions: An option is out of range.
        """
        return await self._detect(photo, options(min_score, max_detections, classes, tiles))

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
        """Find objects in many photos, several of them concurrently.

        Args:
            many: Photos; read as they are needed, so a generator over a large folder is fine.
            concurrency: Photos in flight at the same time.
            on_progress: Called with the number of photos done and their total (None if `many`
                has no length).
            min_score: As in `detect`, and so are the others.
            max_detections: As in `detect`.
            classes: As in `detect`.
            tiles: As in `detect`.

        Raises:
            UnsupportedSource: `many` is one photo.
            ValueError: `concurrency` is below 1, or an option is out of range.

        Yields:
            One result for each photo, in order. A photo that fails does not stop the others.
        """
        chosen = options(min_score, max_detections, classes, tiles)
        images.check_several(many, concurrency)
        report = images.progress_reporter(many, on_progress)
        return self._many(many, chosen, concurrency, report)

    async def aclose(self) -> None:
        """Close the connections, unless they belong to a client that was passed in."""
        if self._owns_http:
            await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def _detect(self, photo: PhotoSource, chosen: DetectOptions) -> Detections:
        content = await async_call_blocking(images.read, photo)
        request = detection_request(
            self._http, self._transport.gateway, content, chosen, self._signed
        )
        with translated_errors(self._transport.gateway):
            return parse_detections(await self._transport.exchange(request))

    async def _many(
        self,
        many: Iterable[PhotoSource],
        chosen: DetectOptions,
        concurrency: int,
        report: Callable[[], None],
    ) -> AsyncIterator[PhotoResult]:
        async def one(photo: PhotoSource) -> PhotoResult:
            try:
                return PhotoResult(photo, await self._detect(photo, chosen))
            except (BlindgateError, OSError) as error:
                return PhotoResult(photo, None, error)

        async with aclosing(async_map_in_order(one, many, concurrency)) as results:
            async for result in results:
                yield result
                report()
