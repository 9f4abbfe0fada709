"""The page as one file that does not come from the gateway, and so does not depend on it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from blindgate.errors import BlindgateError
from gateway.console.configuration import configuration

if TYPE_CHECKING:
    from blindgate.attestation import Trust

#: Scheme, host and perhaps a port (RFC 6454): what a Content-Security-Policy names too.
_ORIGIN: Final = re.compile(r"https?://(?:[A-Za-z0-9.-]+|\[[0-9A-Fa-f:]+\])(?::\d{1,5})?", re.ASCII)


class StandaloneError(BlindgateError):
    """The file cannot be made of this."""


def complete(template: str, *, trust: Trust, gateway: str, max_body: int) -> str:
    """Pin a root, measurements and a gateway in the built template.

    Args:
        template: `dist/standalone/index.html`.
        trust: What the page accepts.
        gateway: The origin that the page may connect to, and no other.
        max_body: Bytes of one request that this gateway takes.

    Raises:
        StandaloneError: The gateway is no origin, debug mode is accepted, or this is not the
            template.
    """
    gateway = gateway.rstrip("/")
    if not _ORIGIN.fullmatch(gateway):
        raise StandaloneError(f"{gateway!r} is no origin such as https://gateway.example")
    if trust.allow_debug:
        raise StandaloneError("a page to give away does not accept debug-mode enclaves")
    told = configuration(trust, max_body, gateway=gateway).decode()
    # Nothing in a string can end the element that holds it.
    told = told.replace("<", "\\u003c")
    return _fill(_fill(template, "%GATEWAY%", gateway), "%CONFIGURATION%", told)


def _fill(template: str, name: str, value: str) -> str:
    before, found, after = template.partition(name)
    if not found or name in after:
        raise StandaloneError(f"the template does not hold {name} once; build it again")
    return before + value + after
