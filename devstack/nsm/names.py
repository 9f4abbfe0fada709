"""Names and key usages as the Nitro PKI writes them, with our organisation in place of Amazon.

AWS orders the fields of its names differently from level to level (ACM PCA above, the Nitro
card below), and leaves the state out above; seen in every real document.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from cryptography import x509
from cryptography.x509.oid import NameOID

_COUNTRY = x509.NameAttribute(NameOID.COUNTRY_NAME, "US")
_ORGANIZATION = x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Blindgate")
_UNIT = x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, "Development")
_CITY = x509.NameAttribute(NameOID.LOCALITY_NAME, "Nowhere")


def _state(name: str) -> x509.NameAttribute[str]:
    return x509.NameAttribute(NameOID.STATE_OR_PROVINCE_NAME, name)


def _common(name: str) -> x509.NameAttribute[str]:
    return x509.NameAttribute(NameOID.COMMON_NAME, name)


def distinguished_name(common_name: str) -> x509.Name:
    """The name of the root or of a region."""
    return x509.Name([_COUNTRY, _ORGANIZATION, _UNIT, _common(common_name)])


def zonal_name(common_name: str) -> x509.Name:
    """The name of a zone: the common name first, and a state in two letters."""
    return x509.Name([_common(common_name), _UNIT, _ORGANIZATION, _COUNTRY, _state("XX"), _CITY])


def instance_name(common_name: str) -> x509.Name:
    """The name of an instance or of an enclave."""
    return x509.Name(
        [_COUNTRY, _state("Nowhere"), _CITY, _ORGANIZATION, _UNIT, _common(common_name)]
    )


def usage(*granted: str) -> x509.KeyUsage:
    """A KeyUsage with the named bits, as `cryptography` names them."""
    bits = (
        "digital_signature", "content_commitment", "key_encipherment", "data_encipherment",
        "key_agreement", "key_cert_sign", "crl_sign", "encipher_only", "decipher_only",
    )  # fmt: skip
    return x509.KeyUsage(**{bit: bit in granted for bit in bits})


_MODULE_ID: Final = re.compile(r"(i-[0-9a-f]{17})-enc([0-9a-f]{16})", re.ASCII)


@dataclass(frozen=True, slots=True)
class ModuleId:
    """An NSM's name, e.g. `i-0368fa67e156d6d23-enc019b8596b1a9dad6`.

    Attributes:
        instance_id: The parent's instance id.
        enclave: The enclave's own 8 bytes.
    """

    instance_id: str
    enclave: bytes

    @classmethod
    def parse(cls, text: str) -> ModuleId:
        """Read a module id.

        Raises:
            ValueError: It has another shape.
        """
        match = _MODULE_ID.fullmatch(text)
        if match is None:
            raise ValueError(f"{text!r} is not like i-<17 hex digits>-enc<16 hex digits>")
        return cls(match[1], bytes.fromhex(match[2]))

    def __str__(self) -> str:
        return f"{self.instance_id}-enc{self.enclave.hex()}"
