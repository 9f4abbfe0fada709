"""What a parent instance must give an image, computed from the image and its limits."""

from __future__ import annotations

import hashlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enclave_app.config import LimitsSection
from enclave_image.architecture import ARM64, X86_64, Architecture
from enclave_image.errors import ImageError
from enclave_image.requirements import KmsRequirements, kms_of, limits_of, require

MIB = 1024 * 1024
KMS = KmsRequirements(("us-east-1",), fips=False)
SECTION = {
    "region": "us-east-1",
    "key_arns": ["arn:aws:kms:us-east-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab"],
    "address": "vsock://3:8000",
    "ca_bundle": "ca.pem",
    "encryption_context": {"purpose": "blindgate"},
}
PCRS = {"PCR0": "00" * 48, "PCR1": "11" * 48, "PCR2": "22" * 48}


@given(
    st.integers(1, 8 * MIB),
    st.integers(0, 4096 * MIB),
    st.integers(0, 4096 * MIB),
    st.integers(848 * MIB, 8192 * MIB),
)
def test_memory_suffices_for_every_part(
    eif: int, resident: int, boot_memory: int, images: int
) -> None:
    limits = LimitsSection(image_memory_bytes=images)
    found = require(
        bytes(eif), PCRS, X86_64, limits, KMS, resident=resident, boot_memory=boot_memory
    ).memory_mib
    assert found * MIB >= resident + limits.memory_bytes
    assert found * MIB >= 4 * eif + limits.memory_bytes, "nitro-cli refuses less than 4 images"
    assert found * MIB >= boot_memory
    assert found % 64 == 0
    assert (found - 64) * MIB < max(
        max(4 * -(-eif // MIB) * MIB, resident) + limits.memory_bytes, boot_memory
    )


@pytest.mark.parametrize(
    ("architecture", "threads", "cpus"),
    [
        (X86_64, 0, 2),
        (X86_64, 1, 2),
        (X86_64, 2, 2),
        (X86_64, 3, 4),
        (ARM64, 0, 1),
        (ARM64, 3, 3),
    ],
)
def test_cpus_are_whole_cores(architecture: Architecture, threads: int, cpus: int) -> None:
    limits = LimitsSection(threads=threads)
    found = require(b"eif", PCRS, architecture, limits, KMS, resident=0, boot_memory=0)
    assert (found.cpus, found.architecture) == (cpus, architecture.name)


def test_the_file_names_its_image() -> None:
    text = require(b"eif", PCRS, X86_64, LimitsSection(), KMS, resident=0, boot_memory=0).to_json()
    assert json.loads(text) == {
        "version": 1,
        "architecture": "x86_64",
        "memory_mib": 1472,
        "cpus": 2,
        "kms": {"regions": ["us-east-1"], "fips": False},
        "eif_sha256": hashlib.sha256(b"eif").hexdigest(),
        "pcrs": PCRS,
    }


def test_limits_that_the_worker_would_refuse_are_refused_before_the_build() -> None:
    assert limits_of({}) == LimitsSection()
    assert limits_of({"limits": {"threads": 3}}).threads == 3
    with pytest.raises(ImageError, match=r"limits\.threads: "):
        limits_of({"limits": {"threads": -1}})
    with pytest.raises(ImageError, match=r"limits\.colour: "):
        limits_of({"limits": {"colour": "red"}})


def test_where_kms_is_asked_is_that_of_the_configuration() -> None:
    assert kms_of({"kms": SECTION}) == KMS
    keys = [each.replace("us-east-1", "eu-west-1") for each in SECTION["key_arns"]]
    both = {**SECTION, "region": None, "key_arns": [*SECTION["key_arns"], *keys]}
    assert kms_of({"kms": both}).regions == ("us-east-1", "eu-west-1")
    assert kms_of({"kms": {**SECTION, "fips": True}}) == KmsRequirements(("us-east-1",), fips=True)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"region": "us-east-2"}, r"kms: .*is not in us-east-2"),
        ({"region": "xx-east-1"}, r"kms\.region: .*none of the partitions"),
        (
            {"region": "cn-north-1", "key_arns": [], "fips": True},
            r"kms\.key_arns: ",
        ),
        (
            {
                "region": "cn-north-1",
                "key_arns": ["arn:aws-cn:kms:cn-north-1:111122223333:key/1234abcd"],
                "fips": True,
            },
            r"kms: .*KMS has no FIPS endpoint in cn-north-1: set fips = false",
        ),
    ],
)
def test_a_kms_that_the_worker_would_refuse_is_refused_before_the_build(
    changed: dict[str, object], message: str
) -> None:
    with pytest.raises(ImageError, match=message):
        kms_of({"kms": {**SECTION, **changed}})
