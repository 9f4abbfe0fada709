"""API keys: made here, shown once, and from then on known by their SHA-256 alone.

A key is `bgk_<id>_<secret>`: the id finds the record, so nothing is looked up by the secret,
and the prefix lets scanners of leaked credentials recognise one. The secret has 256 random
bits, so one round of SHA-256 is enough: slow password hashes are for what people choose.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Annotated, Final, Literal, Self

from pydantic import (
    AwareDatetime,
    BaseModel,
    ConfigDict,
    FailFast,
    Field,
    ValidationError,
    model_validator,
)

from blindgate.errors import BlindgateError
from gateway.auth.caller import Scope

PREFIX: Final = "bgk_"
#: What a key may be called.
NAME: Final = re.compile(r"[^\x00-\x1f\x7f]{1,64}")
#: 64 bits: ids never collide in practice, and are short enough to read aloud.
_ID_BYTES: Final = 8
_SECRET_BYTES: Final = 32
_KEY: Final = re.compile(r"bgk_([0-9a-f]{16})_([A-Za-z0-9_-]{43})", re.ASCII)
#: What an unknown id is compared with, so that it takes as long as a wrong secret.
_NOBODY: Final = bytes(32)
#: A store of more keys than this wants an identity provider; it also bounds the file.
MAX_KEYS: Final = 10_000
#: A record has some 300 bytes of JSON, 850 with a long name outside ASCII that is escaped.
MAX_BYTES: Final = 8 * 1024 * 1024


class InvalidKeyStore(BlindgateError):
    """A list of keys is not one that this version reads."""


class UnknownKeyId(BlindgateError):
    """No key has this id."""


class KeyRecord(BaseModel):
    """What is kept of one key."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: Annotated[str, Field(pattern=r"^[0-9a-f]{16}$")]
    name: Annotated[str, Field(pattern=rf"^{NAME.pattern}$")]
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$", repr=False)]
    scopes: Annotated[tuple[Scope, ...], Field(min_length=1, max_length=len(Scope))]
    created: AwareDatetime
    expires: AwareDatetime | None = None
    revoked: AwareDatetime | None = None

    def is_valid(self, now: datetime) -> bool:
        """Whether it may be used at this time."""
        return self.revoked is None and (self.expires is None or now < self.expires)


class KeyStore(BaseModel):
    """All keys of a deployment, as they lie in a file or a secret."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: Literal[1] = 1
    keys: Annotated[tuple[KeyRecord, ...], FailFast(), Field(max_length=MAX_KEYS)] = ()

    @model_validator(mode="after")
    def _ids_are_unique(self) -> Self:
        if len({record.id for record in self.keys}) != len(self.keys):
            raise ValueError("two keys have the same id")
        return self

    @classmethod
    def from_json(cls, text: str | bytes) -> Self:
        """Read a store.

        Raises:
            InvalidKeyStore: It is not one. Nothing of its content is in the message.
        """
        if len(text) > MAX_BYTES:
            raise InvalidKeyStore(f"a list of API keys of more than {MAX_BYTES} bytes")
        try:
            return cls.model_validate_json(text)
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False, include_context=False)[0]
            where = "".join(f"{part}: " for part in (".".join(map(str, first["loc"])),) if part)
            raise InvalidKeyStore(f"not a list of API keys: {where}{first['msg']}") from None

    def to_json(self) -> str:
        """The store as text that `from_json` reads."""
        return self.model_dump_json(indent=2) + "\n"

    def with_new(
        self,
        name: str,
        scopes: Iterable[Scope],
        *,
        now: datetime,
        lifetime: timedelta | None = None,
    ) -> tuple[Self, KeyRecord, str]:
        """Make a key.

        Returns:
            The store with it, its record, and the key itself, which is nowhere else.
        """
        key_id, secret = secrets.token_hex(_ID_BYTES), secrets.token_urlsafe(_SECRET_BYTES)
        key = f"{PREFIX}{key_id}_{secret}"
        record = KeyRecord(
            id=key_id,
            name=name,
            sha256=hashlib.sha256(key.encode()).hexdigest(),
            scopes=tuple(sorted(set(scopes))),
            created=now,
            expires=now + lifetime if lifetime is not None else None,
        )
        return type(self)(keys=(*self.keys, record)), record, key

    def without(self, key_id: str, now: datetime) -> Self:
        """The store with one key revoked. Its record stays, so that logs can be read.

        Raises:
            UnknownKeyId: There is no such key.
        """
        if all(record.id != key_id for record in self.keys):
            raise UnknownKeyId(f"there is no key {key_id}")
        return type(self)(
            keys=tuple(
                record.model_copy(update={"revoked": record.revoked or now})
                if record.id == key_id
                else record
                for record in self.keys
            )
        )


class Keys:
    """The keys of one store, ready to be asked.

    Args:
        store: What is known of them.
    """

    def __init__(self, store: KeyStore) -> None:
        self._records = {record.id: record for record in store.keys}

    def __len__(self) -> int:
        return len(self._records)

    def find(self, presented: str, now: datetime | None = None) -> KeyRecord | None:
        """The valid key that was presented, or None for anything else.

        Unknown, wrong, expired and revoked keys take the same time and get the same answer.
        """
        match = _KEY.fullmatch(presented)
        record = self._records.get(match[1]) if match else None
        known = bytes.fromhex(record.sha256) if record else _NOBODY
        matches = hmac.compare_digest(hashlib.sha256(presented.encode()).digest(), known)
        if record is None or not matches or not record.is_valid(now or datetime.now(UTC)):
            return None
        return record
