"""Documents of real Nitro enclaves: seven in the repository, more with `make vectors`."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import cbor2
import pytest

from blindgate.attestation import (
    AWS_NITRO_ROOT,
    Document,
    PcrSet,
    Root,
    Trust,
    errors,
    parse,
    verify,
    verify_chain_and_signature,
)
from tests.vectors import places
from tests.vectors.forge import P384_ORDER, ROOT, twin

FOREIGN = "NONAWSROOT"


@dataclass(frozen=True)
class Real:
    path: Path

    @property
    def bytes(self) -> bytes:
        return self.path.read_bytes()

    @property
    def sidecar(self) -> dict[str, object]:
        data: dict[str, object] = json.loads(self.path.with_suffix(".json").read_text())
        return data

    @property
    def made(self) -> datetime:
        return parse(self.bytes).timestamp

    @property
    def trust(self) -> Trust:
        values = {i: v for i, v in parse(self.bytes).pcrs.items() if i in (0, 1, 2)}
        return Trust(AWS_NITRO_ROOT, (PcrSet("image", values),))


def _found(*, debug: bool | None) -> list[Real]:
    found = [
        Real(path) for path in places.find_all("attestation/*.bin") if FOREIGN not in path.name
    ]
    return [real for real in found if debug is None or real.sidecar["debug_mode"] is debug]


def _id(real: Real) -> str:
    return real.path.stem


ALL = pytest.mark.parametrize("real", _found(debug=None), ids=_id)
NORMAL = pytest.mark.parametrize("real", _found(debug=False), ids=_id)


def test_documents_of_both_kinds_are_there() -> None:
    assert len(list((places.REAL / "attestation").glob("*.bin"))) == 7
    assert len(_found(debug=True)) >= 2
    assert len(_found(debug=False)) >= 5


@NORMAL
def test_verifies_at_its_own_time(real: Real) -> None:
    attestation = verify(real.bytes, trust=real.trust, now=real.made)
    assert attestation.module_id == real.sidecar["module_id"]
    assert attestation.pcr_set == real.trust.pcr_sets[0]
    assert len(attestation.chain) == 5


@ALL
def test_is_refused_today(real: Real) -> None:
    with pytest.raises(errors.CertificateExpired):
        verify_chain_and_signature(real.bytes, root=AWS_NITRO_ROOT)


def test_the_nsm_writes_either_of_the_two_signatures_that_verify() -> None:
    """So a rule for small s, which would leave one of them, would refuse real documents."""
    large = {
        int.from_bytes(parse(real.bytes).sign1.signature[48:]) * 2 > P384_ORDER
        for real in _found(debug=None)
    }
    assert large == {False, True}


@NORMAL
def test_the_twin_of_a_real_signature_verifies_too(real: Real) -> None:
    other = real.bytes[:-96] + twin(real.bytes[-96:])
    original = verify(real.bytes, trust=real.trust, now=real.made)
    assert verify(other, trust=real.trust, now=real.made) == original


@NORMAL
def test_verifies_with_its_own_nonce_only(real: Real) -> None:
    now = real.made + timedelta(minutes=10)
    nonce = parse(real.bytes).nonce
    if nonce is None:
        with pytest.raises(errors.NonceMissing):
            verify(real.bytes, trust=real.trust, nonce=b"nonce", now=now)
        return
    verify(real.bytes, trust=real.trust, nonce=nonce, now=now)
    with pytest.raises(errors.NonceMismatch):
        verify(real.bytes, trust=real.trust, nonce=nonce + b"\0", now=now)


@ALL
def test_is_stale_after_five_minutes(real: Real) -> None:
    fresh, stale = timedelta(seconds=300), timedelta(seconds=301)
    verify_chain_and_signature(real.bytes, root=AWS_NITRO_ROOT, now=real.made + fresh)
    with pytest.raises(errors.TimestampStale):
        verify_chain_and_signature(real.bytes, root=AWS_NITRO_ROOT, now=real.made + stale)


@pytest.mark.parametrize("real", _found(debug=True), ids=_id)
def test_debug_mode_document_is_refused_unless_asked_for(real: Real) -> None:
    some_image = PcrSet("image", {i: bytes([1]) * 48 for i in (0, 1, 2)})
    with pytest.raises(errors.DebugMode):
        verify(real.bytes, trust=Trust(AWS_NITRO_ROOT, (some_image,)), now=real.made)
    allowed = Trust(AWS_NITRO_ROOT, (some_image, PcrSet.debug()), allow_debug=True)
    assert verify(real.bytes, trust=allowed, now=real.made).debug_mode


@ALL
def test_another_root_is_not_ours(real: Real) -> None:
    with pytest.raises(errors.WrongRoot):
        verify_chain_and_signature(real.bytes, root=Root.from_pem(ROOT.pem), now=real.made)


@ALL
def test_reads_as_a_general_cbor_library_reads_it(real: Real) -> None:
    _, _, payload, signature = cbor2.loads(real.bytes)
    expected = cbor2.loads(payload)
    document: Document = parse(real.bytes)
    assert document.sign1.signature == signature
    assert document.timestamp_ms == expected["timestamp"]
    assert dict(document.pcrs) == expected["pcrs"]
    assert list(document.cabundle) == expected["cabundle"]
    for name in ("module_id", "digest", "certificate", "public_key", "user_data", "nonce"):
        assert getattr(document, name) == expected[name]


@ALL
def test_pcr4_is_the_instance_id(real: Real) -> None:
    from devstack.nsm.pcrs import measured

    document = parse(real.bytes)
    assert document.pcrs[4] == measured(document.module_id.split("-enc")[0].encode())


def test_document_of_another_root_is_refused(vector: Callable[[str], Path]) -> None:
    path = vector(f"attestation/2024-12-13-oyster-monorepo-d8032479-{FOREIGN}.bin")
    document = path.read_bytes()
    with pytest.raises(errors.WrongRoot):
        verify_chain_and_signature(document, root=AWS_NITRO_ROOT, now=parse(document).timestamp)


def test_shipped_root_is_the_published_one() -> None:
    pem = (places.REAL / "aws-nitro-root-g1.pem").read_bytes()
    assert Root.from_pem(pem).der == AWS_NITRO_ROOT.der
