from __future__ import annotations

import hashlib
import json
from pathlib import Path

from blindgate.attestation import PcrSet
from enclave_image.eif import Image, Section, SectionType
from enclave_image.pcrs import measure


def image(kernel: bytes, line: bytes, *ramdisks: bytes, metadata: bytes = b"{}") -> Image:
    return Image(
        (
            Section(SectionType.KERNEL, kernel),
            Section(SectionType.COMMAND_LINE, line),
            *(Section(SectionType.RAMDISK, data) for data in ramdisks),
            Section(SectionType.METADATA, metadata),
        )
    )


def register(content: bytes) -> bytes:
    return hashlib.sha384(bytes(48) + hashlib.sha384(content).digest()).digest()


def test_registers_cover_what_the_user_guide_says() -> None:
    found = measure(image(b"KERNEL", b"line", b"boot", b"app", b"model"))
    assert found.pcr0 == register(b"KERNELlinebootappmodel")
    assert found.pcr1 == register(b"KERNELlineboot")
    assert found.pcr2 == register(b"appmodel")


def test_one_byte_of_the_application_changes_pcr0_and_pcr2_alone() -> None:
    one = measure(image(b"K", b"l", b"boot", b"configuration 1"))
    other = measure(image(b"K", b"l", b"boot", b"configuration 2"))
    assert one.pcr1 == other.pcr1
    assert one.pcr0 != other.pcr0
    assert one.pcr2 != other.pcr2


def test_metadata_is_not_measured() -> None:
    parts = (b"K", b"l", b"boot", b"app")
    assert measure(image(*parts, metadata=b'{"a": 1}')) == measure(image(*parts))


def test_the_json_is_nitro_clis_and_a_verifier_reads_it(tmp_path: Path) -> None:
    found = measure(image(b"K", b"l", b"boot", b"app"))
    assert json.loads(found.to_json())["Measurements"]["HashAlgorithm"] == "Sha384 { ... }"
    path = tmp_path / "pcrs.json"
    found.write(path)
    assert PcrSet.from_file(path).values == {0: found.pcr0, 1: found.pcr1, 2: found.pcr2}
