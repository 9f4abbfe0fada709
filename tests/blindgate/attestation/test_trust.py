"""What a trust policy may be."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from blindgate.attestation import AWS_NITRO_ROOT, PcrSet, Root, Trust
from blindgate.attestation.errors import InvalidPcrSet, InvalidRoot, InvalidTrust, ZeroPcrs
from blindgate.attestation.trust import AWS_NITRO_FINGERPRINT
from tests.vectors.forge import BLUE, OTHER_ROOT, PINNED, ROOT, pcr

VALUES = {0: pcr("0"), 1: pcr("1"), 2: pcr("2")}
HEX = {f"PCR{i}": value.hex() for i, value in VALUES.items()}


def _write(path: Path, content: object) -> Path:
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def test_reads_what_nitro_cli_prints(tmp_path: Path) -> None:
    printed = {"Measurements": {"HashAlgorithm": "Sha384 { ... }", **HEX}}
    pcr_set = PcrSet.from_file(_write(tmp_path / "release-7.json", printed))
    assert (pcr_set.name, dict(pcr_set.values)) == ("release-7.json", VALUES)


def test_reads_a_flat_file_with_further_pcrs(tmp_path: Path) -> None:
    flat = {**HEX, "pcr8": pcr("8").hex().upper(), "comment": "release 7"}
    assert PcrSet.from_file(_write(tmp_path / "p", flat)).values[8] == pcr("8")


@pytest.mark.parametrize(
    "content",
    [
        "", "[]", "null", "{", "[" * 100_000, {}, {"Measurements": {}}, {"Measurements": []},
        {**HEX, "PCR1": "00"}, {**HEX, "PCR1": 0}, {**HEX, "PCR1": "g" * 96},
        {**HEX, "PCR32": "11" * 48}, {"PCR0": HEX["PCR0"], "PCR1": HEX["PCR1"]},
        {**HEX, "pcr0": HEX["PCR1"]}, json.dumps(HEX)[:-1] + f', "PCR0": "{HEX["PCR1"]}"}}',
        " " * 70_000,
    ],
    ids=str,
)  # fmt: skip
def test_any_other_file_is_refused(tmp_path: Path, content: object) -> None:
    with pytest.raises(InvalidPcrSet):
        PcrSet.from_file(_write(tmp_path / "p", content))


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidPcrSet, match="No such file"):
        PcrSet.from_file(tmp_path / "absent.json")


@pytest.mark.parametrize("index", [0, 1, 2])
def test_a_zero_measurement_is_refused_unless_asked_for(index: int) -> None:
    values = {**VALUES, index: bytes(48)}
    with pytest.raises(ZeroPcrs):
        PcrSet("debug", values)
    assert PcrSet("debug", values, allow_debug=True).values[index] == bytes(48)


def test_other_pcrs_may_be_zero() -> None:
    assert PcrSet("no role", {**VALUES, 3: bytes(48)}).values[3] == bytes(48)


@pytest.mark.parametrize("value", [b"", bytes([1]) * 32, bytes([1]) * 64])
def test_measurements_are_sha384(value: bytes) -> None:
    with pytest.raises(InvalidPcrSet):
        PcrSet("short", {**VALUES, 8: value})


@pytest.mark.parametrize("index", [-1, 32])
def test_pcrs_that_do_not_exist_are_refused(index: int) -> None:
    with pytest.raises(InvalidPcrSet):
        PcrSet("odd", {**VALUES, index: pcr("odd")})


def test_a_set_needs_a_name() -> None:
    with pytest.raises(InvalidPcrSet):
        PcrSet("", VALUES)


def test_a_set_cannot_be_changed_from_outside() -> None:
    values = dict(VALUES)
    pcr_set = PcrSet("kept", values)
    values[0] = bytes(48)
    assert pcr_set.values[0] == VALUES[0]
    with pytest.raises(TypeError):
        pcr_set.values[0] = bytes(48)  # type: ignore[index]


def test_a_policy_needs_a_set() -> None:
    with pytest.raises(InvalidTrust):
        Trust(PINNED, ())


def test_a_policy_tells_its_sets_apart() -> None:
    with pytest.raises(InvalidTrust):
        Trust(PINNED, (BLUE, BLUE))


def test_root_is_pinned_by_fingerprint() -> None:
    assert hashlib.sha256(AWS_NITRO_ROOT.der).hexdigest() == AWS_NITRO_FINGERPRINT
    swapped = Root("swapped", AWS_NITRO_FINGERPRINT, lambda: ROOT.pem)
    with pytest.raises(InvalidRoot, match="not the pinned one"):
        _ = swapped.certificate


def test_a_root_that_is_not_there_is_missed_only_when_needed(tmp_path: Path) -> None:
    root = Root("absent", AWS_NITRO_FINGERPRINT, (tmp_path / "absent.pem").read_bytes)
    with pytest.raises(InvalidRoot, match="cannot be read"):
        _ = root.der


@pytest.mark.parametrize("pem", [b"", b"-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n"])
def test_a_root_that_cannot_be_read_is_refused(pem: bytes) -> None:
    with pytest.raises(InvalidRoot):
        Root.from_pem(pem)


def test_two_roots_in_a_file_are_refused() -> None:
    with pytest.raises(InvalidRoot):
        Root.from_pem(ROOT.pem + OTHER_ROOT.pem)


def test_a_root_is_read_from_a_file_of_64_kib_at_most(tmp_path: Path) -> None:
    path = tmp_path / "root.pem"
    comment = b"#" * (65_536 - len(ROOT.pem) - 1) + b"\n"
    path.write_bytes(comment + ROOT.pem)
    assert Root.from_file(path).fingerprint == PINNED.fingerprint
    assert Root.from_file(str(path)).der == PINNED.der
    path.write_bytes(b"#" + comment + ROOT.pem)
    with pytest.raises(InvalidRoot, match=r"root\.pem: a root of more than 65536 bytes"):
        Root.from_file(path)
    with pytest.raises(InvalidRoot, match="more than 65536 bytes"):
        Root.from_pem(path.read_bytes())


@pytest.mark.parametrize("name", ["PCR 8", "PCR08", "PCR_8", "pcr", " PCR8", "PCR8 ", "PCR100"])
def test_a_mistyped_pcr_is_refused_and_not_skipped(tmp_path: Path, name: str) -> None:
    path = _write(tmp_path / "p", {**HEX, name: pcr("8").hex()})
    with pytest.raises(InvalidPcrSet, match="not the name of a PCR"):
        PcrSet.from_file(path)


def test_a_pcr_beside_the_measurements_is_refused(tmp_path: Path) -> None:
    path = _write(tmp_path / "p", {"Measurements": HEX, "PCR8": pcr("8").hex()})
    with pytest.raises(InvalidPcrSet, match="PCR8 is beside Measurements"):
        PcrSet.from_file(path)


def test_limits_of_a_pcr_file(tmp_path: Path) -> None:
    text = json.dumps(HEX)
    longest = text + " " * (65_536 - len(text))
    assert dict(PcrSet.from_file(_write(tmp_path / "p", longest)).values) == VALUES
    with pytest.raises(InvalidPcrSet, match="larger than 65536 bytes"):
        PcrSet.from_file(_write(tmp_path / "p", longest + " "))
    assert PcrSet("all", {**VALUES, 31: pcr("31")}).values[31] == pcr("31")
