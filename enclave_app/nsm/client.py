"""What the rest of the enclave sees of its security module, and the one implementation of it.

A back end only exchanges bytes: the ioctl device, or a development socket.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Protocol

from enclave_app.nsm.messages import (
    Fields,
    decode_answer,
    encode_request,
    take_bytes,
    take_flag,
    take_number,
    take_numbers,
    take_text,
)


@dataclass(frozen=True, slots=True)
class Description:
    """What the module says about itself.

    Attributes:
        version: Major, minor, patch.
        module_id: `<instance id>-enc<enclave id>`.
        max_pcrs: How many PCRs there are (32).
        locked_pcrs: The indexes that can no longer change.
        digest: The PCRs' digest, `SHA384`.
    """

    version: tuple[int, int, int]
    module_id: str
    max_pcrs: int
    locked_pcrs: tuple[int, ...]
    digest: str


@dataclass(frozen=True, slots=True)
class Pcr:
    """One register: whether it can no longer change, and its 48 bytes."""

    locked: bool
    value: bytes


class Nsm(Protocol):
    """The security module. All methods raise `NsmError`; all are safe to call from threads."""

    def attest(
        self,
        *,
        public_key: bytes | None = None,
        user_data: bytes | None = None,
        nonce: bytes | None = None,
    ) -> bytes:
        """A fresh signed document. At most 1024, 512 and 512 bytes of input."""

    def get_random(self) -> bytes:
        """Up to 256 bytes of hardware randomness."""

    def describe(self) -> Description:
        """What the module says about itself."""

    def describe_pcr(self, index: int) -> Pcr:
        """A register's state."""

    def extend_pcr(self, index: int, data: bytes) -> bytes:
        """Extend an unlocked PCR (16 to 31) with SHA-384(old ‖ data); its new value."""

    def lock_pcr(self, index: int) -> None:
        """Lock one PCR until the enclave ends."""

    def lock_pcrs(self, below: int) -> None:
        """Lock all PCRs below an index until the enclave ends."""


class NsmClient(ABC):
    """`Nsm` over any back end that exchanges one request for one answer."""

    @abstractmethod
    def exchange(self, request: bytes) -> bytes:
        """Send a request's CBOR, return the answer's.

        Raises:
            NsmError: `NsmUnavailable`, or what the driver itself refuses.
        """

    def attest(
        self,
        *,
        public_key: bytes | None = None,
        user_data: bytes | None = None,
        nonce: bytes | None = None,
    ) -> bytes:
        """A fresh signed document. At most 1024, 512 and 512 bytes of input."""
        fields = self._call(
            "Attestation",
            {"user_data": user_data, "nonce": nonce, "public_key": public_key},
        )
        return take_bytes(fields, "document")

    def get_random(self) -> bytes:
        """Up to 256 bytes of hardware randomness."""
        return take_bytes(self._call("GetRandom"), "random")

    def describe(self) -> Description:
        """What the module says about itself."""
        fields = self._call("DescribeNSM")
        return Description(
            version=(
                take_number(fields, "version_major"),
                take_number(fields, "version_minor"),
                take_number(fields, "version_patch"),
            ),
            module_id=take_text(fields, "module_id"),
            max_pcrs=take_number(fields, "max_pcrs"),
            locked_pcrs=take_numbers(fields, "locked_pcrs"),
            digest=take_text(fields, "digest"),
        )

    def describe_pcr(self, index: int) -> Pcr:
        """A register's state."""
        fields = self._call("DescribePCR", {"index": index})
        return Pcr(take_flag(fields, "lock"), take_bytes(fields, "data"))

    def extend_pcr(self, index: int, data: bytes) -> bytes:
        """Extend an unlocked PCR (16 to 31) with SHA-384(old ‖ data); its new value."""
        return take_bytes(self._call("ExtendPCR", {"index": index, "data": data}), "data")

    def lock_pcr(self, index: int) -> None:
        """Lock one PCR until the enclave ends."""
        self._call("LockPCR", {"index": index})

    def lock_pcrs(self, below: int) -> None:
        """Lock all PCRs below an index until the enclave ends."""
        self._call("LockPCRs", {"range": below})

    def _call(self, operation: str, arguments: dict[str, object] | None = None) -> Fields:
        return decode_answer(operation, self.exchange(encode_request(operation, arguments)))
