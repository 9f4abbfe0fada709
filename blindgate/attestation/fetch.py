"""Asking a gateway for a document. The gateway is not trusted: it can only fail to answer."""

from __future__ import annotations

import base64
import json
import secrets
from email.message import Message
from typing import Final

import httpx

from blindgate.attestation.cose import MAX_DOCUMENT
from blindgate.errors import BlindgateError
from blindgate.printable import printable

PATH: Final = "/v1/attestation"
#: RFC 9052 §10.3 with its optional parameter.
MEDIA_TYPE: Final = 'application/cose; cose-type="cose-sign1"'
#: Bytes; the gateway takes 16 to 64.
NONCE_LENGTH: Final = 32
#: Seconds for each of connecting and reading.
TIMEOUT: Final = 10.0
#: A problem (RFC 9457) that is read for its title is shorter than this.
_MAX_PROBLEM: Final = 64 * 1024


class FetchFailed(BlindgateError):
    """No document came: the gateway cannot be reached, refused, or answered something else."""


def new_nonce() -> bytes:
    """A nonce that nobody has seen."""
    return secrets.token_bytes(NONCE_LENGTH)


def fetch_document(client: httpx.Client, url: str, nonce: bytes) -> bytes:
    """Ask for a document that answers `nonce`. Verify it before you believe it.

    Args:
        client: With its TLS settings and time-outs.
        url: The gateway's base address.
        nonce: 16 to 64 bytes, never used before.

    Raises:
        FetchFailed: There is no document; the message says why.
    """
    query = {"nonce": base64.urlsafe_b64encode(nonce).rstrip(b"=").decode()}
    try:
        with client.stream(
            "GET", url.rstrip("/") + PATH, params=query, headers={"accept": MEDIA_TYPE}
        ) as answer:
            limit = MAX_DOCUMENT if answer.status_code == httpx.codes.OK else _MAX_PROBLEM
            content = _read(answer, limit)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        # Its cause says why: `blindgate.client.reaching.explain` has words for it.
        raise FetchFailed(f"cannot ask {url}: {error or type(error).__name__}") from error
    if answer.status_code != httpx.codes.OK:
        said = _problem(content) or " without a problem document: is it a Blindgate gateway?"
        raise FetchFailed(f"{url.rstrip('/')} answered {answer.status_code}{said}")
    kind = Message()
    kind["content-type"] = answer.headers.get("content-type", "")
    if kind.get_content_type() != "application/cose" or kind.get_param("cose-type") not in (
        None,
        "cose-sign1",
    ):
        raise FetchFailed(
            f"{url.rstrip('/')} answered something that is not an attestation document: is it a "
            "Blindgate gateway?"
        )
    return content


def _read(answer: httpx.Response, limit: int) -> bytes:
    content = bytearray()
    for part in answer.iter_bytes():
        content += part
        if len(content) > limit:
            raise FetchFailed(f"the answer is longer than {limit} bytes")
    return bytes(content)


def _problem(content: bytes) -> str:
    """The title and detail of a problem, made printable; empty if it is none."""
    try:
        problem = json.loads(content)
    except (ValueError, RecursionError):
        return ""
    if not isinstance(problem, dict):
        return ""
    said = [str(problem[key]) for key in ("title", "detail") if problem.get(key)]
    return "".join(f": {printable(text)[:200]}" for text in said)
