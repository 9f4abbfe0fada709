"""What an attestation document says, before anybody has checked who says it.

The rules are those of AWS's attestation_process.md §3.2.2, with two measured exceptions: absent
optionals are there with the value null, and `user_data` may have up to 1024 bytes because
documents with 746 exist. Fields that we do not know are skipped: the signature covers them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

from blindgate.attestation import cbor, cose
from blindgate.attestation.errors import (
    EmptyCabundle,
    InvalidCertificateLength,
    InvalidModuleId,
    InvalidOptionalLength,
    InvalidPcrCount,
    InvalidPcrIndex,
    InvalidPcrLength,
    InvalidTimestamp,
    MalformedCbor,
    MissingField,
    UnknownDigest,
    WrongFieldType,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

DIGEST: Final = "SHA384"
MAX_PCRS: Final = 32
PCR_LENGTHS: Final = (32, 48, 64)
MAX_CERTIFICATE: Final = 1024
#: public_key, user_data, nonce: "bytes .size (0..1024)" in AWS's CDDL.
MAX_OPTIONAL: Final = 1024
#: Milliseconds; year 9999, the last that X.509 and `datetime` know.
_MAX_TIMESTAMP: Final = 253_402_300_799_999
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Document:
    """A document that is well formed; **nothing in it is verified**.

    Attributes:
        module_id: The NSM's name: `<instance id>-enc<enclave id>`.
        digest: Always `SHA384`.
        timestamp_ms: Milliseconds since 1970, UTC, when the NSM made the document.
        pcrs: Index (0..31) to value; only locked PCRs are in a document.
        certificate: DER of the certificate whose key signed.
        cabundle: DER of the issuing certificates, root first.
        public_key: What the enclave put there, or None.
        user_data: What the enclave put there, or None.
        nonce: What the enclave put there, or None.
        sign1: The signed bytes and their signature.
    """

    module_id: str
    digest: str
    timestamp_ms: int
    pcrs: Mapping[int, bytes]
    certificate: bytes = field(repr=False)
    cabundle: tuple[bytes, ...] = field(repr=False)
    public_key: bytes | None
    user_data: bytes | None
    nonce: bytes | None
    sign1: cose.Sign1 = field(repr=False)

    @property
    def timestamp(self) -> datetime:
        """When the NSM made the document, by its own clock."""
        return _EPOCH + timedelta(milliseconds=self.timestamp_ms)


def parse(document: bytes) -> Document:
    """Read a document without verifying anything about its origin.

    Args:
        document: COSE_Sign1 bytes, tagged (18) or not, at most 16 KiB.

    Raises:
        MalformedDocument: One of its subclasses, for the first rule that is broken.
    """
    sign1 = cose.read(bytes(document))
    payload = cbor.decode(sign1.payload)
    if not isinstance(payload, dict):
        raise MalformedCbor("the payload is not a map")
    return Document(
        module_id=_module_id(payload),
        digest=_digest(payload),
        timestamp_ms=_timestamp(payload),
        pcrs=_pcrs(payload),
        certificate=_certificate(_required(payload, "certificate"), "certificate"),
        cabundle=_cabundle(payload),
        public_key=_optional(payload, "public_key", shortest=1),
        user_data=_optional(payload, "user_data"),
        nonce=_optional(payload, "nonce"),
        sign1=sign1,
    )


_Payload = dict[int | str, cbor.Value]


def _required(payload: _Payload, name: str) -> cbor.Value:
    value = payload.get(name)
    if value is None:
        raise MissingField(f"the field {name} is missing")
    return value


def _module_id(payload: _Payload) -> str:
    value = _required(payload, "module_id")
    if not isinstance(value, str):
        raise WrongFieldType("module_id is not text")
    if not value:
        raise InvalidModuleId("module_id is empty")
    return value


def _digest(payload: _Payload) -> str:
    value = _required(payload, "digest")
    if not isinstance(value, str):
        raise WrongFieldType("digest is not text")
    if value != DIGEST:
        raise UnknownDigest(f"digest is not {DIGEST}")
    return value


def _timestamp(payload: _Payload) -> int:
    value = _required(payload, "timestamp")
    if isinstance(value, bool) or not isinstance(value, int):
        raise WrongFieldType("timestamp is not an unsigned integer")
    if not 0 < value <= _MAX_TIMESTAMP:
        raise InvalidTimestamp("timestamp is not a time after 1970 and before 10000")
    return value


def _pcrs(payload: _Payload) -> dict[int, bytes]:
    value = _required(payload, "pcrs")
    if not isinstance(value, dict):
        raise WrongFieldType("pcrs is not a map")
    if not 1 <= len(value) <= MAX_PCRS:
        raise InvalidPcrCount(f"{len(value)} PCRs instead of 1 to {MAX_PCRS}")
    pcrs: dict[int, bytes] = {}
    for index, content in value.items():
        if not isinstance(index, int) or not isinstance(content, bytes):
            raise WrongFieldType("pcrs does not map integers to byte strings")
        if index >= MAX_PCRS:
            raise InvalidPcrIndex(f"PCR index {index} is not in 0..{MAX_PCRS - 1}")
        if len(content) not in PCR_LENGTHS:
            raise InvalidPcrLength(f"PCR{index} has {len(content)} bytes")
        pcrs[index] = content
    return pcrs


def _certificate(value: cbor.Value, name: str) -> bytes:
    if not isinstance(value, bytes):
        raise WrongFieldType(f"{name} is not a byte string")
    if not 1 <= len(value) <= MAX_CERTIFICATE:
        raise InvalidCertificateLength(
            f"{name} has {len(value)} bytes instead of 1 to {MAX_CERTIFICATE}"
        )
    return value


def _cabundle(payload: _Payload) -> tuple[bytes, ...]:
    value = _required(payload, "cabundle")
    if not isinstance(value, list):
        raise WrongFieldType("cabundle is not an array")
    if not value:
        raise EmptyCabundle("cabundle is empty")
    return tuple(_certificate(entry, f"cabundle[{i}]") for i, entry in enumerate(value))


def _optional(payload: _Payload, name: str, shortest: int = 0) -> bytes | None:
    value = payload.get(name)
    if value is None:
        return None
    if not isinstance(value, bytes):
        raise WrongFieldType(f"{name} is neither a byte string nor null")
    if not shortest <= len(value) <= MAX_OPTIONAL:
        raise InvalidOptionalLength(f"{name} has {len(value)} bytes")
    return value
