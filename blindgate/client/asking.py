"""What the blocking and the asynchronous detector share."""

from __future__ import annotations

from collections.abc import Sized
from typing import TYPE_CHECKING, Final

import httpx

from blindgate.client import photos
from blindgate.client.errors import ClientError, GatewayUnreachable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from blindgate.client.photos import PhotoSource
    from blindgate.detections import DetectOptions

    Progress = Callable[[int, int | None], None]

#: A large photo on a slow line, a queue and a detection fit in; a dead gateway shows in 10 s.
TIMEOUT: Final = httpx.Timeout(120.0, connect=10.0)
#: Photos of one `detect_many` that are on their way at once.
CONCURRENCY: Final = 4


class Reachable:
    """Turns httpx's own errors into `GatewayUnreachable`; ours pass."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        if isinstance(error, httpx.HTTPError) and not isinstance(error, ClientError):
            raise GatewayUnreachable(
                f"no answer from the gateway: {error or type(error).__name__}"
            ) from error


def detection_request(
    http: httpx.Client | httpx.AsyncClient,
    gateway: httpx.URL,
    content: bytes,
    chosen: DetectOptions,
) -> httpx.Request:
    """The request that the enclave is to see, with the client's own headers and time-outs."""
    return http.build_request(
        "POST",
        gateway.join(photos.target(chosen)),
        headers={"content-type": photos.media_type(content), "accept": "application/json"},
        content=content,
    )


def progress(many: Iterable[PhotoSource], on_progress: Progress | None) -> Callable[[], None]:
    """What to call after each photo, so that the caller's function hears of it."""
    total = len(many) if isinstance(many, Sized) else None
    done = 0

    def report() -> None:
        nonlocal done
        done += 1
        if on_progress is not None:
            on_progress(done, total)

    return report
