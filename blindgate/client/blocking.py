"""`Blindgate`: verify, seal, detect."""

from __future__ import annotations

from collections import deque
from concurrent.futures import ThreadPoolExecutor
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
from blindgate.client.messages import outer_fields
from blindgate.client.photos import PhotoResult, PhotoSource
from blindgate.client.reaching import Reachable
from blindgate.client.transport import OhttpTransport
from blindgate.errors import BlindgateError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from concurrent.futures import Future
    from typing import Self

    from blindgate.client.asking import Progress
    from blindgate.client.session import VerifiedEnclave
    from blindgate.client.trust import TrustLike
    from blindgate.detections import Detections, DetectOptions


class Blindgate:
    """A client of one Blindgate gateway that lets nobody but a verified enclave see a photo.

    ```python
    with Blindgate("https://gateway.example", trust="release-7-pcrs.json") as blindgate:
        for found in blindgate.detect("photo.jpg").detections:
            print(found.label, found.score)
    ```

    Threads may share one.

    Args:
        url: The gateway's origin.
        trust: Which enclaves to believe: the path of a PCR file (or several: one of them must
            match), a `Trust`, or `"development"` for the local stack. There is no default.
        api_key: Signs in with an API key of the gateway.
        token: Signs in with a token of the identity provider that the gateway trusts.
        http: An `httpx.Client` to send with, for proxies, certificates, credentials; it is not
            closed. Its default headers go along: `authorization` and the like outside the seal.

    Raises:
        InvalidTrust: Nothing would be trusted.
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
        http: httpx.Client | None = None,
    ) -> None:
        self._signed = credentials(api_key=api_key, token=token)
        self._http = http or httpx.Client(timeout=TIMEOUT)
        self._owns_http = http is None
        self._transport = OhttpTransport(url, trust=trust, transport=_ThroughClient(self._http))

    def __repr__(self) -> str:
        return f"<Blindgate {self._transport!r}>"

    @property
    def enclave(self) -> VerifiedEnclave | None:
        """The enclave that was verified last, or None."""
        return self._transport.enclave

    def verify(self) -> VerifiedEnclave:
        """Verify the enclave now, whether or not that was done before.

        Raises:
            VerificationFailed: It is not one that we trust.
            ProblemError: The gateway has none to offer.
            GatewayUnreachable: The gateway does not answer.
        """
        request = self._http.build_request("GET", self._transport.gateway, headers=self._signed)
        with Reachable(self._transport.gateway):
            return self._transport.verify(
                self._transport.enclave, outer_fields(request.headers), dict(request.extensions)
            )

    def detect(
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
                PNG of its pixels as they lie: no EXIF orientation is applied.
            min_score: Leave out objects that score less, 0 to 1; the model's default if None.
            max_detections: At most this many, best first.
            classes: Only objects with these labels: a sequence, or a text with commas.
            tiles: Look closer at tiles x tiles parts of the picture as well, 1 to 3.

        Raises:
            VerificationFailed: The enclave is not one that we trust; the photo was not sent.
            ProblemError: The service says why not, e.g. `image-rejected`.
            GatewayUnreachable: The gateway does not answer.
            AnswerRejected: What came back is no answer to this request.
            OSError: The photo cannot be read.
            InvalidPhoto: It is empty, or of a format that the enclave does not open.
            UnsupportedSource: It is given as something else than a `PhotoSource`.
            InvalidOptions: An option is out of range.
        """
        return self._detect(photo, photos.options(min_score, max_detections, classes, tiles))

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
    ) -> Iterator[PhotoResult]:
        """Find objects in many photos, a few at a time.

        Args:
            many: Photos; read as they are needed, so a generator over a large folder is fine.
            concurrency: How many are on their way at once.
            on_progress: Called with how many are done and how many there are (None if `many`
                does not say).
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
        chosen = photos.options(min_score, max_detections, classes, tiles)
        many = photos.several(many, concurrency)
        report = progress(many, on_progress)
        return self._many(iter(many), chosen, concurrency, report)

    def close(self) -> None:
        """Close the connections, unless they are those of a client that was passed in."""
        if self._owns_http:
            self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _detect(self, photo: PhotoSource, chosen: DetectOptions) -> Detections:
        content = photos.read(photo)
        request = detection_request(
            self._http, self._transport.gateway, content, chosen, self._signed
        )
        with Reachable(self._transport.gateway):
            return photos.detections(self._transport.exchange(request))

    def _many(
        self,
        many: Iterator[PhotoSource],
        chosen: DetectOptions,
        concurrency: int,
        report: Callable[[], None],
    ) -> Iterator[PhotoResult]:
        def one(photo: PhotoSource) -> PhotoResult:
            try:
                return PhotoResult(photo, self._detect(photo, chosen))
            except (BlindgateError, OSError) as error:
                return PhotoResult(photo, None, error)

        with ThreadPoolExecutor(concurrency, "blindgate") as pool:
            waiting: deque[Future[PhotoResult]] = deque()
            try:
                for photo in many:
                    waiting.append(pool.submit(one, photo))
                    # Twice as many as run, so that one slow photo does not idle the others.
                    if len(waiting) >= 2 * concurrency:
                        yield waiting.popleft().result()
                        report()
                while waiting:
                    yield waiting.popleft().result()
                    report()
            finally:
                for future in waiting:
                    future.cancel()


class _ThroughClient(httpx.BaseTransport):
    """An `httpx.Client` as a transport, so that its proxies, hooks and credentials apply."""

    def __init__(self, client: httpx.Client) -> None:
        self._client = client

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        return self._client.send(request, stream=True, follow_redirects=False)
