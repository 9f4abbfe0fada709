"""The parent's role, for the enclaves: reading its credentials and pushing them ahead of expiry.

An enclave has no network and so no way to ask the instance metadata service; it signs its KMS
calls with what the parent gives it. Nothing here logs or shows a secret.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable, Hashable, Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, Protocol

import botocore.session
import cbor2
from botocore.credentials import InstanceMetadataProvider
from botocore.exceptions import BotoCoreError

from blindgate.errors import BlindgateError

#: How often the chain is asked. botocore fetches new credentials from 15 minutes before the end,
#: and must from 10; in between asking costs nothing. IMDS has the next ones 5 minutes before.
POLL_SECONDS: Final = 30.0
#: How often at most the chain is walked anew because an enclave finds its credentials wanting.
REREAD_SECONDS: Final = 10.0
#: IMDS only: while what it gives ends within 20 minutes, botocore claims a later end (12 to 20
#: minutes from now) and rests. With this the service is asked at each poll instead.
IMDS_ENDS_SOON_SECONDS: Final = 25 * 60.0

_log = logging.getLogger(__name__)
# At DEBUG, botocore writes out requests with the tokens in them.
logging.getLogger("botocore").setLevel(logging.WARNING)


class NoCredentials(BlindgateError):
    """The provider chain has none, or cannot get at them."""


@dataclass(frozen=True, slots=True)
class RoleCredentials:
    """One set of credentials, ready to be pushed.

    Attributes:
        body: The body of a `credentials` operation (docs/link.md §5).
        expires: Unix seconds, or None for lasting ones.
    """

    body: bytes = field(repr=False)
    expires: int | None

    def for_region(self, region: str) -> bytes:
        """The body for an enclave whose image can ask KMS in several Regions."""
        return cbor2.dumps({**cbor2.loads(self.body), "region": region})


class RoleSource:
    """botocore's provider chain: environment, profile, container, IMDSv2 and the rest.

    Args:
        profile: A profile of the AWS configuration; AWS_PROFILE or the default if left out.
    """

    def __init__(self, profile: str | None = None) -> None:
        self._profile = profile
        self._credentials: Any = None

    def read(self, *, anew: bool = False) -> RoleCredentials:
        """The credentials as they are now; refreshed by botocore where they end soon. Blocks.

        Args:
            anew: Forget what the chain found before and walk it again.

        Raises:
            NoCredentials: There are none.
        """
        try:
            if anew or self._credentials is None or self._is_old_of_imds():
                session = botocore.session.Session(profile=self._profile)
                # Where the chain finds nothing for once, what it found before may still be good.
                self._credentials = session.get_credentials() or self._credentials
            if self._credentials is None:
                raise NoCredentials("none in the environment, a profile, or the instance's role")
            frozen = self._credentials.get_frozen_credentials()
        except (BotoCoreError, OSError, ValueError, RuntimeError) as error:
            # The text may quote what was read; the class says enough.
            raise NoCredentials(f"reading them failed with {type(error).__name__}") from None
        ends = _end_of(self._credentials)
        expires = None if ends is None else int(ends)
        return RoleCredentials(
            cbor2.dumps(
                {
                    "access_key_id": frozen.access_key,
                    "secret_access_key": frozen.secret_key,
                    "session_token": frozen.token,
                    "expires": expires,
                }
            ),
            expires,
        )

    def _is_old_of_imds(self) -> bool:
        ends = _end_of(self._credentials)
        return (
            self._credentials.method == InstanceMetadataProvider.METHOD
            and ends is not None
            and ends - time.time() < IMDS_ENDS_SOON_SECONDS
        )


def _end_of(credentials: Any) -> float | None:
    """Unix seconds; botocore has no public way to ask refreshable credentials."""
    ends = getattr(credentials, "_expiry_time", None)
    return ends.timestamp() if isinstance(ends, datetime) else None


class Reads(Protocol):
    """Where credentials come from."""

    def read(self, *, anew: bool = False) -> RoleCredentials:
        """Return the current ones; may block."""
        ...


class Reports(Protocol):
    """What an enclave's status says about credentials."""

    @property
    def needs_credentials(self) -> bool:
        """Whether it has none, they end soon, or KMS refused them."""
        ...

    @property
    def kms_regions(self) -> tuple[str, ...]:
        """The Regions whose KMS its image can ask."""
        ...


class CredentialPusher:
    """Keeps every enclave supplied. Belongs to one event loop.

    `run` reads; `on_status`, the pool's hook, pushes: to an enclave that has not had the latest
    ones, and to one that says it needs them, such as one that has just restarted.

    Args:
        source: Where credentials come from.
        region: The Region of this instance: enclaves that can ask KMS in several ask it there.
        poll: Seconds between two readings.
        reread: Seconds at least between two walks of the whole chain.
    """

    def __init__(
        self,
        source: Reads,
        *,
        region: str | None = None,
        poll: float = POLL_SECONDS,
        reread: float = REREAD_SECONDS,
    ) -> None:
        self._source = source
        self._region = region
        self._elsewhere: set[Hashable] = set()
        self._poll = poll
        self._reread = reread
        self._latest: RoleCredentials | None = None
        # Which reading each enclave has, by its number: nothing secret is kept of older ones.
        self._reading = 0
        self._pushed: dict[Hashable, int] = {}
        self._wanted = asyncio.Event()
        self._failing = False

    def __repr__(self) -> str:
        return f"<CredentialPusher {self._latest!r}>"

    def retain(self, enclaves: Iterable[Hashable]) -> None:
        """Forget all enclaves but these."""
        known = set(enclaves)
        self._pushed = {each: had for each, had in self._pushed.items() if each in known}
        self._elsewhere &= known

    async def run(self) -> None:
        """Read now, whenever an enclave needs others, and regularly; until cancelled."""
        while True:
            await self._refresh(anew=self._wanted.is_set())
            self._wanted.clear()
            # Enclaves that keep asking do not make this a flood on the metadata service.
            await asyncio.sleep(min(self._reread, self._poll))
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(max(0.0, self._poll - self._reread)):
                    await self._wanted.wait()

    async def on_status(
        self, enclave: Hashable, status: Reports, push: Callable[[bytes], Awaitable[None]]
    ) -> None:
        """Push to an enclave that should have the latest credentials and has not.

        Args:
            enclave: Which one, such as its address.
            status: What it says.
            push: Sends it the body of a `credentials` operation; what it raises is passed on.
        """
        latest, reading = self._latest, self._reading
        has_latest = self._pushed.get(enclave) == reading
        if latest is None or (status.needs_credentials and has_latest):
            # There may be better ones than those that did not do.
            self._wanted.set()
        if latest is None or (has_latest and not status.needs_credentials):
            return
        body = self._body(enclave, latest, status.kms_regions)
        if body is None:
            return
        await push(body)
        self._pushed[enclave] = reading
        _log.info("pushed credentials", extra={"enclave": str(enclave), "expires": latest.expires})

    def _body(
        self, enclave: Hashable, latest: RoleCredentials, regions: tuple[str, ...]
    ) -> bytes | None:
        """What to push; None for an enclave whose image names no KMS key in this Region."""
        if len(regions) <= 1:
            return latest.body
        if self._region in regions:
            self._elsewhere.discard(enclave)
            return latest.for_region(self._region)
        if enclave not in self._elsewhere:
            self._elsewhere.add(enclave)
            _log.warning(
                "the enclave's image names KMS keys in %s, and BLINDGATE_REGION is %s: it gets no "
                "credentials",
                ", ".join(regions),
                self._region or "not set",
                extra={"enclave": str(enclave)},
            )
        return None

    async def _refresh(self, *, anew: bool) -> None:
        try:
            found = await asyncio.to_thread(self._source.read, anew=anew)
        except NoCredentials as error:
            if not self._failing:
                _log.warning("no credentials for the enclaves: %s", error)
            self._failing = True
            return
        self._failing = False
        if self._latest is None or found.body != self._latest.body:
            self._latest = found
            self._reading += 1
