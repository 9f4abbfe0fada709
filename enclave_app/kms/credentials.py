"""The role's temporary credentials that the parent pushes, in memory only.

They are untrusted input: with a pinned key ARN, a checked KeyId and PCR conditions in the key
policy, wrong ones can deny service and nothing more. They still are the parent's secret, so
nothing here prints them.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

from blindgate.errors import BlindgateError
from blindgate.strict_cbor import CborError, decode
from enclave_app.limits import CREDENTIALS_BYTES

#: Seconds before expiry from which new ones are asked for: AWS's SDKs use the same 5 minutes as
#: the last moment, since IMDS has the next ones ready by then.
DUE_BEFORE_EXPIRY: Final = 300.0

# They go into HTTP headers and a signature: no space, no control character, nothing beyond ASCII.
_ACCESS_KEY_ID: Final = re.compile(r"[A-Za-z0-9_]{16,128}")  # IAM's AccessKeyId
_SECRET: Final = re.compile(r"[!-~]{1,256}")
_TOKEN: Final = re.compile(r"[!-~]{1,8192}")
_FIELDS: Final = frozenset({"access_key_id", "secret_access_key", "session_token", "expires"})
_LATEST: Final = 253_402_300_799  # 9999-12-31, where datetime ends


class CredentialsError(BlindgateError):
    """What was pushed is not a set of credentials."""

    text = "the credentials are not in the form that docs/link.md §5 gives"

    def __init__(self) -> None:
        super().__init__(self.text)


class RegionNotMeasured(CredentialsError):
    """The parent names a Region of which the measured configuration has no key, or names none."""

    text = "the credentials name no Region of the measured configuration"


@dataclass(frozen=True, slots=True)
class Credentials:
    """One set of credentials.

    Attributes:
        generation: Counts the sets that this worker was given, from 1.
        access_key_id: Names the credentials; AWS logs it, we do not.
        secret_access_key: Signs requests.
        session_token: Goes with temporary credentials, or None.
        expires: Unix seconds, or None for lasting ones.
        region: The measured Region whose KMS is asked with them; None where none is measured.
    """

    generation: int
    access_key_id: str = field(repr=False)
    secret_access_key: str = field(repr=False)
    session_token: str | None = field(repr=False)
    expires: int | None
    region: str | None = None


class CredentialStore:
    """Holds the latest credentials and lets a caller wait for newer ones.

    Safe for any number of threads.

    Args:
        clock: Unix time in seconds.
        regions: The Regions of the measured configuration. Of several, the parent must name one.
    """

    def __init__(
        self, clock: Callable[[], float] = time.time, *, regions: tuple[str, ...] = ()
    ) -> None:
        self._clock = clock
        self._regions = regions
        self._changed = threading.Condition()
        self._current: Credentials | None = None
        self._refused = 0

    def __repr__(self) -> str:
        return f"CredentialStore({self._current!r})"

    def current(self) -> Credentials | None:
        """The latest, or None while nothing was pushed."""
        return self._current

    @property
    def are_due(self) -> bool:
        """Whether the parent should push: there are none, they end soon, or KMS refused them."""
        current = self._current
        if current is None or current.generation <= self._refused:
            return True
        return current.expires is not None and current.expires - self._clock() < DUE_BEFORE_EXPIRY

    def region(self, timeout: float = 0.0) -> str | None:
        """The measured Region whose KMS this worker asks.

        Args:
            timeout: Seconds to wait for the parent to name one of several.

        Returns:
            None if it named none in time.
        """
        if len(self._regions) == 1:
            return self._regions[0]
        current = self._current or self.wait_newer(None, timeout)
        return current.region if current is not None else None

    def replace(self, body: bytes) -> None:
        """Take the body of a `credentials` operation (docs/link.md §5).

        What was held before stays where it is refused.

        Raises:
            CredentialsError: It is not exactly that map.
            RegionNotMeasured: It names a Region that is not measured, or none of several.
        """
        try:
            fields = decode(body, max_bytes=CREDENTIALS_BYTES, max_depth=2)
        except CborError:
            raise CredentialsError from None
        if not isinstance(fields, dict) or fields.keys() - {"region"} != _FIELDS:
            raise CredentialsError
        token, expires = fields["session_token"], fields["expires"]
        if not (
            _is_text(fields["access_key_id"], _ACCESS_KEY_ID)
            and _is_text(fields["secret_access_key"], _SECRET)
            and (token is None or _is_text(token, _TOKEN))
            and (expires is None or (type(expires) is int and 0 <= expires <= _LATEST))
        ):
            raise CredentialsError
        region = self._measured(fields.get("region"))
        with self._changed:
            self._current = Credentials(
                generation=self._current.generation + 1 if self._current else 1,
                access_key_id=fields["access_key_id"],
                secret_access_key=fields["secret_access_key"],
                session_token=token,
                expires=expires,
                region=region,
            )
            self._changed.notify_all()

    def refused(self, credentials: Credentials) -> None:
        """Note that KMS takes these no longer, so that `are_due` asks the parent for others."""
        with self._changed:
            self._refused = max(self._refused, credentials.generation)

    def wait_newer(self, than: Credentials | None, timeout: float) -> Credentials | None:
        """Wait until there are other credentials.

        Args:
            than: What the caller has, or None.
            timeout: Seconds.

        Returns:
            Newer ones, or None if none came in time.
        """
        generation = than.generation if than else 0

        def newer() -> Credentials | None:
            held = self._current
            return held if held is not None and held.generation > generation else None

        with self._changed:
            self._changed.wait_for(lambda: newer() is not None, timeout)
            return newer()

    def _measured(self, named: Any) -> str | None:
        if named is None and len(self._regions) <= 1:
            return self._regions[0] if self._regions else None
        if not isinstance(named, str) or named not in self._regions:
            raise RegionNotMeasured
        return named


def _is_text(value: Any, pattern: re.Pattern[str]) -> bool:
    return isinstance(value, str) and pattern.fullmatch(value) is not None
