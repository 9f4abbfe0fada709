"""Whom a verifier believes: one pinned root, and the measurements of the images it accepts."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding

from blindgate.attestation.document import MAX_PCRS
from blindgate.attestation.errors import InvalidPcrSet, InvalidRoot, InvalidTrust, ZeroPcrs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

#: PCR0 alone is not enough: image, kernel with boot ramdisk, application.
REQUIRED_PCRS: Final = (0, 1, 2)
#: PCRs are SHA-384, the only digest of an NSM.
PCR_LENGTH: Final = 48
#: SHA-256 of the DER of AWS_NitroEnclaves_Root-G1, as AWS publishes it
#: (https://docs.aws.amazon.com/enclaves/latest/user/verify-root.html).
AWS_NITRO_FINGERPRINT: Final = "641a0321a3e244efe456463195d606317ed7cdcc3c1756e09893f3c68f79bb5b"

_ZERO: Final = bytes(PCR_LENGTH)
#: `nitro-cli describe-eif` prints a few kilobytes.
_MAX_PCR_FILE: Final = 64 * 1024
#: One certificate of this PKI has 700 bytes of PEM; comments may stand before it.
_MAX_ROOT_FILE: Final = 64 * 1024
_PCR_NAME: Final = re.compile(r"PCR(0|[1-9][0-9]?)", re.ASCII | re.IGNORECASE)


def measures_nothing(pcrs: Mapping[int, bytes]) -> bool:
    """Whether PCR0, 1 or 2 is all zero, which is how the NSM marks debug mode."""
    return any(index in pcrs and not any(pcrs[index]) for index in REQUIRED_PCRS)


@dataclass(frozen=True, slots=True)
class PcrSet:
    """The measurements of one image. A document matches if **all** of them are equal.

    Attributes:
        name: What reports call it, e.g. the file's name or a release.
        values: PCR index to 48 bytes. PCR0, 1 and 2 are required; 3 (the parent's role),
            4 (the parent's instance) and 8 (the image's signer) are the usual others.
        allow_debug: Accept a zero PCR0, 1 or 2. Never in production.
    """

    name: str
    values: Mapping[int, bytes]
    allow_debug: bool = field(default=False, repr=False)

    def __post_init__(self) -> None:
        values = MappingProxyType(dict(sorted(self.values.items())))
        object.__setattr__(self, "values", values)
        if not self.name:
            raise InvalidPcrSet("a PCR set needs a name")
        missing = [f"PCR{i}" for i in REQUIRED_PCRS if i not in values]
        if missing:
            raise InvalidPcrSet(f"PCR set {self.name}: {', '.join(missing)} missing")
        for index, value in values.items():
            if not 0 <= index < MAX_PCRS:
                raise InvalidPcrSet(f"PCR set {self.name}: PCR{index} does not exist")
            if len(value) != PCR_LENGTH:
                raise InvalidPcrSet(
                    f"PCR set {self.name}: PCR{index} is not {PCR_LENGTH} bytes (SHA-384) long"
                )
        if measures_nothing(values) and not self.allow_debug:
            raise ZeroPcrs(
                f"PCR set {self.name}: PCR0, PCR1 or PCR2 is all zero; it would trust every "
                "debug-mode enclave"
            )

    @classmethod
    def debug(cls) -> PcrSet:
        """The set of every debug-mode enclave: zero PCR0, 1 and 2. Never in production."""
        return cls("debug mode", dict.fromkeys(REQUIRED_PCRS, _ZERO), allow_debug=True)

    @classmethod
    def from_file(cls, path: Path | str, *, allow_debug: bool = False) -> PcrSet:
        """Read what `nitro-cli build-enclave` or `describe-eif` printed.

        Both layouts are read: `{"Measurements": {"PCR0": hex, …}}` and `{"PCR0": hex, …}`. Other
        keys are skipped, but one that begins like `PCR<n>` and is none is refused: a mistyped PCR
        must not make the set weaker than it was written. The file's name becomes the set's.

        Raises:
            InvalidPcrSet: The file cannot be read or is no such JSON.
            ZeroPcrs: PCR0, 1 or 2 is all zero.
        """
        path = Path(path)
        try:
            with path.open("rb") as file:
                content = file.read(_MAX_PCR_FILE + 1)
        except OSError as error:
            raise InvalidPcrSet(f"cannot read {path}: {error.strerror}") from None
        if len(content) > _MAX_PCR_FILE:
            raise InvalidPcrSet(f"{path} is larger than {_MAX_PCR_FILE} bytes")
        return cls.from_json(content, name=path.name, allow_debug=allow_debug)

    @classmethod
    def from_json(cls, content: bytes | str, *, name: str, allow_debug: bool = False) -> PcrSet:
        """As `from_file`, from the file's content."""
        try:
            data = json.loads(content, object_pairs_hook=_no_duplicates)
        except (ValueError, RecursionError) as error:
            raise InvalidPcrSet(f"PCR set {name}: not JSON that can be read ({error})") from None
        if isinstance(data, dict) and isinstance(data.get("Measurements"), dict):
            if beside := [key for key in data if key.lower().startswith("pcr")]:
                raise InvalidPcrSet(f"PCR set {name}: {beside[0]} is beside Measurements")
            data = data["Measurements"]
        if not isinstance(data, dict):
            raise InvalidPcrSet(f"PCR set {name}: not a JSON object of measurements")
        return cls(name, dict(_hex_pcrs(name, data)), allow_debug=allow_debug)

    def differing(self, pcrs: Mapping[int, bytes]) -> tuple[int, ...]:
        """The indexes of this set whose value in `pcrs` is absent or another one."""
        return tuple(i for i, value in self.values.items() if pcrs.get(i) != value)


def _no_duplicates(pairs: list[tuple[str, object]]) -> dict[str, object]:
    data = dict(pairs)
    if len(data) != len(pairs):
        raise ValueError("a key is there twice")
    return data


def _hex_pcrs(name: str, data: Mapping[str, object]) -> Iterable[tuple[int, bytes]]:
    seen: set[int] = set()
    for key, value in data.items():
        match = _PCR_NAME.fullmatch(key)
        if match is None:
            if key.strip().lower().startswith("pcr"):
                raise InvalidPcrSet(f"PCR set {name}: {key!r:.40} is not the name of a PCR")
            continue
        index = int(match[1])
        if index in seen:
            raise InvalidPcrSet(f"PCR set {name}: PCR{index} is there twice")
        seen.add(index)
        if not isinstance(value, str) or not re.fullmatch(r"[0-9a-fA-F]{96}", value):
            raise InvalidPcrSet(f"PCR set {name}: PCR{index} is not 96 hexadecimal digits")
        yield index, bytes.fromhex(value)


@dataclass(frozen=True)
class Root:
    """A root certificate, pinned by the SHA-256 of its DER.

    Attributes:
        name: What reports call it.
        fingerprint: SHA-256 of the certificate's DER, lower-case hex.
    """

    name: str
    fingerprint: str
    _pem: Callable[[], bytes] = field(repr=False, compare=False)

    @cached_property
    def certificate(self) -> x509.Certificate:
        """The certificate that chains must end at; read when it is first needed.

        An enclave imports this package for what it binds and verifies nobody: its image need
        not hold any root.

        Raises:
            InvalidRoot: Not one certificate, or not the pinned one.
        """
        try:
            certificate = _one_certificate(self._pem())
        except OSError as error:
            raise InvalidRoot(f"root {self.name} cannot be read: {error.strerror}") from None
        if _fingerprint(certificate) != self.fingerprint:
            raise InvalidRoot(f"the certificate of root {self.name} is not the pinned one")
        return certificate

    @cached_property
    def der(self) -> bytes:
        """The certificate's DER."""
        return self.certificate.public_bytes(Encoding.DER)

    @classmethod
    def from_pem(cls, pem: bytes) -> Root:
        """A root of one's own: a dev root, or another partition's.

        Args:
            pem: Exactly one certificate.

        Raises:
            InvalidRoot: Not one certificate, or more than 64 KiB.
        """
        certificate = _one_certificate(pem)
        name = certificate.subject.rfc4514_string()
        return cls(name, _fingerprint(certificate), lambda: pem)

    @classmethod
    def from_file(cls, path: Path | str) -> Root:
        """As `from_pem`, from a file.

        Raises:
            InvalidRoot: The file holds something else than one certificate.
            OSError: It cannot be read.
        """
        path = Path(path)
        with path.open("rb") as file:
            content = file.read(_MAX_ROOT_FILE + 1)
        try:
            return cls.from_pem(content)
        except InvalidRoot as error:
            raise InvalidRoot(f"{path}: {error}") from None


def _one_certificate(pem: bytes) -> x509.Certificate:
    if len(pem) > _MAX_ROOT_FILE:
        raise InvalidRoot(f"a root of more than {_MAX_ROOT_FILE} bytes")
    try:
        (certificate,) = x509.load_pem_x509_certificates(pem)
        certificate.subject.rfc4514_string()
        certificate.public_key()
    # The library has types of its own for a version or a key that it does not know, and gives
    # TypeError and OverflowError for some malformed fields.
    except (
        ValueError,
        TypeError,
        OverflowError,
        x509.InvalidVersion,
        UnsupportedAlgorithm,
    ) as error:
        raise InvalidRoot(f"not a PEM file with one certificate ({error})") from None
    return certificate


def _fingerprint(certificate: x509.Certificate) -> str:
    return hashlib.sha256(certificate.public_bytes(Encoding.DER)).hexdigest()


#: The root of all Nitro enclaves of the commercial AWS partition.
AWS_NITRO_ROOT: Final = Root(
    "CN=aws.nitro-enclaves,OU=AWS,O=Amazon,C=US",
    AWS_NITRO_FINGERPRINT,
    (Path(__file__).parent / "roots" / "aws-nitro-root-g1.pem").read_bytes,
)


@dataclass(frozen=True, slots=True)
class Trust:
    """What `verify` believes.

    Attributes:
        root: The root that documents must chain to.
        pcr_sets: The images that are accepted; several for blue/green. One must match wholly.
        allow_debug: Accept debug-mode enclaves whose zero PCRs a set lists. Never in production.
    """

    root: Root
    pcr_sets: tuple[PcrSet, ...]
    allow_debug: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "pcr_sets", tuple(self.pcr_sets))
        if not self.pcr_sets:
            raise InvalidTrust("no measurements are given, so no enclave could be trusted")
        if len({s.name for s in self.pcr_sets}) != len(self.pcr_sets):
            raise InvalidTrust("two PCR sets have the same name")
