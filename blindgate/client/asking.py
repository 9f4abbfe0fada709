"""What the blocking and the asynchronous detector share."""

from __future__ import annotations

import re
from collections.abc import Sized
from typing import TYPE_CHECKING, Final

import httpx

from blindgate.client import photos
from blindgate.client.errors import InvalidCredentials

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from blindgate.client.photos import PhotoSource
    from blindgate.detections import DetectOptions

    Progress = Callable[[int, int | None], None]

#: A large photo on a slow line, a queue and a detection fit in; a dead gateway shows in 10 s.
TIMEOUT: Final = httpx.Timeout(120.0, connect=10.0)
#: What a header field can carry without quoting: RFC 9110 §5.5, without spaces.
_VISIBLE: Final = re.compile(r"[\x21-\x7e]+")
#: Photos of one `detect_many` that are on their way at once.
CONCURRENCY: Final = 4


def credentials(*, api_key: str | None, token: str | None) -> dict[str, str]:
    """The header fields that sign in.

    Args:
        api_key: An API key of the gateway.
        token: A token of the identity provider that the gateway trusts.

    Raises:
        InvalidCredentials: Both are given, or one that no header can carry. It is not in the
            message.
    """
    if api_key is not None and token is not None:
        raise InvalidCredentials("give an API key or a token, not both")
    for secret, what in ((api_key, "API key"), (token, "token")):
        if secret is not None and not _VISIBLE.fullmatch(secret):
            raise InvalidCredentials(
                f"the {what} is empty or has a character that none has, such as a space"
            )
    if api_key is not None:
        return {"x-api-key": api_key}
    return {} if token is None else {"authorization": f"Bearer {token}"}


def detection_request(
    http: httpx.Client | httpx.AsyncClient,
    gateway: httpx.URL,
    content: bytes,
    chosen: DetectOptions,
    signed: Mapping[str, str],
) -> httpx.Request:
    """The request that the enclave is to see, with the client's own headers and time-outs."""
    return http.build_request(
        "POST",
        gateway.join(photos.target(chosen)),
        headers={
            "content-type": photos.media_type(content),
            "accept": "application/json",
            **signed,
        },
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
