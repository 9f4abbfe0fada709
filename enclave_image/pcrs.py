"""The measurements of an enclave image: PCR0, PCR1 and PCR2.

Each register starts as 48 zero bytes and is extended once: SHA-384(zeros ‖ SHA-384(content)).
PCR0 covers the kernel, its command line and all ramdisks; PCR1 the kernel, its command line and
the first ramdisk; PCR2 the other ramdisks.

Source: aws/aws-nitro-enclaves-image-format `src/utils/mod.rs` (`EifHasher`), "Where to find an
enclave's measurements" in the AWS Nitro Enclaves user guide.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from enclave_image.eif import Image

#: Bytes of a register.
LENGTH = 48


@dataclass(frozen=True, slots=True)
class Measurements:
    """PCR0, PCR1 and PCR2: 48 bytes each."""

    pcr0: bytes
    pcr1: bytes
    pcr2: bytes

    @property
    def by_name(self) -> dict[str, str]:
        """The registers in hexadecimal."""
        return {"PCR0": self.pcr0.hex(), "PCR1": self.pcr1.hex(), "PCR2": self.pcr2.hex()}

    def to_json(self) -> str:
        """The JSON that `nitro-cli build-enclave` prints, with a final newline."""
        found = {"HashAlgorithm": "Sha384 { ... }", **self.by_name}
        return json.dumps({"Measurements": found}, indent=2) + "\n"

    def write(self, path: Path) -> None:
        """Write `to_json` to a file."""
        path.write_text(self.to_json())


def measure(image: Image) -> Measurements:
    """Measure an image as the Nitro hypervisor would."""
    boot: list[bytes | memoryview] = [image.kernel, image.command_line, *image.ramdisks[:1]]
    application = image.ramdisks[1:]
    return Measurements(extend([*boot, *application]), extend(boot), extend(application))


def extend(parts: Iterable[bytes | memoryview]) -> bytes:
    """A register that was zero and has been extended with the digest of some parts."""
    content = hashlib.sha384()
    for part in parts:
        content.update(part)
    return hashlib.sha384(bytes(LENGTH) + content.digest()).digest()
