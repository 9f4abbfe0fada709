"""The NSM's requests and answers, without I/O: CBOR in, CBOR out.

The messages are those of aws-nitro-enclaves-nsm-api `src/api/mod.rs` in serde's "externally
tagged" form. A server puts them behind a socket, a virtio back end behind a virtqueue.
"""

from __future__ import annotations

import threading
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

import cbor2

from blindgate.attestation import cbor
from blindgate.attestation.document import MAX_OPTIONAL
from blindgate.attestation.errors import MalformedDocument
from devstack.nsm.certificates import CertificateChain
from devstack.nsm.documents import encode_payload, sign
from devstack.nsm.names import ModuleId
from devstack.nsm.pcrs import COUNT, LENGTH, PcrBank, PcrIndexError, PcrLockedError, measured
from devstack.nsm.randomness import Randomness, SystemRandomness

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from devstack.nsm.root import DevRoot

#: NSM_REQUEST_MAX_SIZE and NSM_RESPONSE_MAX_SIZE of linux/nsm.h.
MAX_REQUEST: Final = 0x1000
MAX_RESPONSE: Final = 0x3000
#: Bytes of one GetRandom.
RANDOM_LENGTH: Final = 256
#: user_data and nonce; AWS's attestation_process.md §3.2.2.2.
MAX_USER_DATA: Final = 512
#: public_key.
MAX_PUBLIC_KEY: Final = MAX_OPTIONAL

_VERSION: Final = {"version_major": 1, "version_minor": 0, "version_patch": 0}
_IMAGE_PCRS: Final = (0, 1, 2)
_ROLE_PCR, _INSTANCE_PCR = 3, 4


class _RefusalError(Exception):
    """An `{"Error": code}` answer."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


_Fields = dict[int | str, cbor.Value]


class DevNsm:
    """The NSM of one enclave from its boot to its end. Thread-safe.

    Args:
        root: The dev root that documents chain to.
        module_id: `i-<17 hex digits>-enc<16 hex digits>`.
        pcrs: PCR0, 1, 2 (and 8, …) at boot; absent ones are zero.
        role_arn: The parent's role, measured in PCR3; None leaves it zero, as without a role.
        region: Appears in the certificates' names.
        debug_mode: Boot in debug mode: PCR0 to 2 are zero whatever was given.
        clock: The time in UTC.
        randomness: Where keys and random bytes come from.

    Raises:
        ValueError: The module id or a PCR has another shape.
    """

    def __init__(
        self,
        root: DevRoot,
        module_id: str,
        pcrs: Mapping[int, bytes],
        *,
        role_arn: str | None = None,
        region: str = "us-east-1",
        debug_mode: bool = False,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        randomness: Randomness | None = None,
    ) -> None:
        module = ModuleId.parse(module_id)
        at_boot = {_INSTANCE_PCR: measured(module.instance_id.encode())}
        if role_arn is not None:
            at_boot[_ROLE_PCR] = measured(role_arn.encode())
        at_boot.update(pcrs)
        if debug_mode:
            at_boot.update(dict.fromkeys(_IMAGE_PCRS, bytes(LENGTH)))
        self.module_id = module_id
        self._pcrs = PcrBank(at_boot)
        self._randomness = randomness or SystemRandomness()
        self._chain = CertificateChain(root, module, region, self._randomness)
        self._clock = clock
        self._lock = threading.Lock()
        self._operations: dict[str, Callable[[_Fields], object]] = {
            "DescribePCR": self._describe_pcr,
            "ExtendPCR": self._extend_pcr,
            "LockPCR": self._lock_pcr,
            "LockPCRs": self._lock_pcrs,
            "Attestation": self._attestation,
        }

    def __repr__(self) -> str:
        return f"<DevNsm {self.module_id}>"

    def handle(self, request: bytes) -> bytes:
        """Answer one request.

        Args:
            request: CBOR, at most 4096 bytes.

        Returns:
            CBOR, at most 12288 bytes. Whatever is wrong with a request is an `Error` answer.
        """
        try:
            if len(request) > MAX_REQUEST:
                raise _RefusalError("InputTooLarge")
            try:
                message = cbor.decode(request)
            except MalformedDocument:
                raise _RefusalError("InvalidOperation") from None
            with self._lock:
                return cbor2.dumps(self._dispatch(message))
        except _RefusalError as refusal:
            return cbor2.dumps({"Error": refusal.code})
        except PcrIndexError:
            return cbor2.dumps({"Error": "InvalidIndex"})
        except PcrLockedError:
            return cbor2.dumps({"Error": "ReadOnlyIndex"})

    def attest(
        self,
        *,
        public_key: bytes | None = None,
        user_data: bytes | None = None,
        nonce: bytes | None = None,
    ) -> bytes:
        """Ask for an attestation document, for who runs in the same process.

        Raises:
            ValueError: The request was refused.
        """
        fields = {"public_key": public_key, "user_data": user_data, "nonce": nonce}
        answer = cbor2.loads(self.handle(cbor2.dumps({"Attestation": fields})))
        if "Error" in answer:
            raise ValueError(f"the NSM refused: {answer['Error']}")
        document: bytes = answer["Attestation"]["document"]
        return document

    def _dispatch(self, message: cbor.Value) -> object:
        if message == "DescribeNSM":
            return {"DescribeNSM": self._describe()}
        if message == "GetRandom":
            return {"GetRandom": {"random": self._randomness.octets(RANDOM_LENGTH)}}
        if isinstance(message, dict) and len(message) == 1:
            ((name, fields),) = message.items()
            operation = self._operations.get(name) if isinstance(name, str) else None
            if operation is not None and isinstance(fields, dict):
                return operation(fields)
        raise _RefusalError("InvalidOperation")

    def _describe(self) -> object:
        return {
            **_VERSION,
            "module_id": self.module_id,
            "max_pcrs": COUNT,
            "locked_pcrs": sorted(self._pcrs.locked()),
            "digest": "SHA384",
        }

    def _describe_pcr(self, fields: _Fields) -> object:
        locked, data = self._pcrs.describe(_number(fields, "index"))
        return {"DescribePCR": {"lock": locked, "data": data}}

    def _extend_pcr(self, fields: _Fields) -> object:
        data = fields.get("data")
        if not isinstance(data, bytes):
            raise _RefusalError("InvalidOperation")
        return {"ExtendPCR": {"data": self._pcrs.extend(_number(fields, "index"), data)}}

    def _lock_pcr(self, fields: _Fields) -> object:
        self._pcrs.lock(_number(fields, "index"))
        return "LockPCR"

    def _lock_pcrs(self, fields: _Fields) -> object:
        self._pcrs.lock_below(_number(fields, "range"))
        return "LockPCRs"

    def _attestation(self, fields: _Fields) -> object:
        public_key = _optional(fields, "public_key", MAX_PUBLIC_KEY)
        if public_key == b"":
            raise _RefusalError("InvalidArgument")
        user_data = _optional(fields, "user_data", MAX_USER_DATA)
        nonce = _optional(fields, "nonce", MAX_USER_DATA)
        now = self._clock()
        *issuers, leaf = self._chain.at(now)
        payload = encode_payload(
            module_id=self.module_id,
            timestamp_ms=int(now.timestamp() * 1000),
            pcrs=self._pcrs.locked(),
            certificate=leaf.der,
            cabundle=[issuer.der for issuer in issuers],
            public_key=public_key,
            user_data=user_data,
            nonce=nonce,
        )
        return {"Attestation": {"document": sign(payload, leaf.key)}}


def _number(fields: _Fields, name: str) -> int:
    """A u16 of the Rust API; anything else does not deserialize there."""
    value = fields.get(name)
    if isinstance(value, bool) or not isinstance(value, int) or value > 0xFFFF:
        raise _RefusalError("InvalidOperation")
    return value


def _optional(fields: _Fields, name: str, longest: int) -> bytes | None:
    value = fields.get(name)
    if value is None:
        return None
    if not isinstance(value, bytes):
        raise _RefusalError("InvalidOperation")
    if len(value) > longest:
        raise _RefusalError("InputTooLarge")
    return value
