"""Every request of the NSM's API, and every refusal."""

from __future__ import annotations

import hashlib

import cbor2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from blindgate.attestation import parse
from devstack.nsm import DevNsm
from devstack.nsm.protocol import MAX_RESPONSE
from tests.devstack.nsm.conftest import IMAGE, Call
from tests.vectors.forge import MODULE_ID, ROOT


def _refused(code: str) -> dict[str, str]:
    return {"Error": code}


def _attestation(**fields: object) -> object:
    return {"Attestation": {"user_data": None, "nonce": None, "public_key": None, **fields}}


def test_describes_itself(call: Call) -> None:
    assert call("DescribeNSM") == {
        "DescribeNSM": {
            "version_major": 1,
            "version_minor": 0,
            "version_patch": 0,
            "module_id": MODULE_ID,
            "max_pcrs": 32,
            "locked_pcrs": list(range(16)),
            "digest": "SHA384",
        }
    }


def test_randomness_is_256_bytes_and_never_the_same(call: Call) -> None:
    one, other = call("GetRandom"), call("GetRandom")
    assert isinstance(one, dict)
    assert len(one["GetRandom"]["random"]) == 256
    assert one != other


def test_pcrs_are_locked_at_boot_below_16(call: Call) -> None:
    for index in range(32):
        answer = call({"DescribePCR": {"index": index}})
        value = IMAGE.get(index, bytes(48))
        assert isinstance(answer, dict)
        assert answer["DescribePCR"]["lock"] is (index < 16)
        if index not in (3, 4):
            assert answer["DescribePCR"]["data"] == value


def test_extending_hashes_onto_the_old_value(call: Call) -> None:
    first = hashlib.sha384(bytes(48) + b"one").digest()
    second = hashlib.sha384(first + b"two").digest()
    assert call({"ExtendPCR": {"index": 16, "data": b"one"}}) == {"ExtendPCR": {"data": first}}
    assert call({"ExtendPCR": {"index": 16, "data": b"two"}}) == {"ExtendPCR": {"data": second}}
    assert call({"DescribePCR": {"index": 16}}) == {"DescribePCR": {"lock": False, "data": second}}


def test_a_locked_pcr_cannot_be_extended_nor_locked_again(call: Call) -> None:
    assert call({"LockPCR": {"index": 20}}) == "LockPCR"
    assert call({"LockPCR": {"index": 20}}) == _refused("ReadOnlyIndex")
    assert call({"ExtendPCR": {"index": 20, "data": b"x"}}) == _refused("ReadOnlyIndex")
    assert call({"ExtendPCR": {"index": 0, "data": b"x"}}) == _refused("ReadOnlyIndex")


def test_a_range_locks_everything_below_it(call: Call) -> None:
    assert call({"LockPCRs": {"range": 18}}) == "LockPCRs"
    assert call({"LockPCRs": {"range": 18}}) == "LockPCRs"
    described = call("DescribeNSM")
    assert isinstance(described, dict)
    assert described["DescribeNSM"]["locked_pcrs"] == list(range(18))
    assert call({"LockPCRs": {"range": 32}}) == "LockPCRs"


def test_only_locked_pcrs_are_in_a_document(nsm: DevNsm, call: Call) -> None:
    call({"ExtendPCR": {"index": 17, "data": b"x"}})
    assert 17 not in parse(nsm.attest()).pcrs
    call({"LockPCR": {"index": 17}})
    assert 17 in parse(nsm.attest()).pcrs
    assert 16 not in parse(nsm.attest()).pcrs


@pytest.mark.parametrize(
    ("request_", "code"),
    [
        ({"DescribePCR": {"index": 32}}, "InvalidIndex"),
        ({"ExtendPCR": {"index": 32, "data": b""}}, "InvalidIndex"),
        ({"LockPCR": {"index": 32}}, "InvalidIndex"),
        ({"LockPCRs": {"range": 33}}, "InvalidIndex"),
        ({"DescribePCR": {"index": -1}}, "InvalidOperation"),
        ({"DescribePCR": {"index": 65536}}, "InvalidOperation"),
        ({"DescribePCR": {"index": "0"}}, "InvalidOperation"),
        ({"DescribePCR": {"index": True}}, "InvalidOperation"),
        ({"DescribePCR": {}}, "InvalidOperation"),
        ({"DescribePCR": 0}, "InvalidOperation"),
        ({"ExtendPCR": {"index": 16}}, "InvalidOperation"),
        ({"ExtendPCR": {"index": 16, "data": "text"}}, "InvalidOperation"),
        ("DescribePCR", "InvalidOperation"),
        ("Unknown", "InvalidOperation"),
        ({"DescribeNSM": {}}, "InvalidOperation"),
        ({"LockPCR": {"index": 16}, "LockPCRs": {"range": 1}}, "InvalidOperation"),
        ({}, "InvalidOperation"),
        ([], "InvalidOperation"),
        (None, "InvalidOperation"),
        (_attestation(nonce="text"), "InvalidOperation"),
        (_attestation(public_key=b""), "InvalidArgument"),
        (_attestation(public_key=bytes(1025)), "InputTooLarge"),
        (_attestation(user_data=bytes(513)), "InputTooLarge"),
        (_attestation(nonce=bytes(513)), "InputTooLarge"),
        (_attestation(more=bytes(4096)), "InputTooLarge"),
    ],
)
def test_refuses(call: Call, request_: object, code: str) -> None:
    assert call(request_) == _refused(code)


def test_what_is_not_cbor_is_refused(nsm: DevNsm) -> None:
    for junk in (b"", b"\xff", b"\x00\x00", cbor2.dumps("GetRandom") + b"\x00"):
        assert cbor2.loads(nsm.handle(junk)) == _refused("InvalidOperation")


def test_the_largest_of_everything_fits_into_an_answer(nsm: DevNsm, call: Call) -> None:
    call({"LockPCRs": {"range": 32}})
    request = _attestation(user_data=bytes(512), nonce=bytes(512), public_key=bytes(1024))
    answer = nsm.handle(cbor2.dumps(request))
    assert len(answer) <= MAX_RESPONSE
    assert len(parse(cbor2.loads(answer)["Attestation"]["document"]).pcrs) == 32


_ANY = DevNsm(ROOT, MODULE_ID, IMAGE)


@settings(max_examples=200)
@given(st.binary(max_size=80))
def test_any_bytes_get_an_answer(request_: bytes) -> None:
    assert cbor2.loads(_ANY.handle(request_))


def test_a_refused_document_is_an_error_that_says_so(nsm: DevNsm) -> None:
    with pytest.raises(ValueError, match="refused: InputTooLarge"):
        nsm.attest(nonce=bytes(5000))


def test_repr_holds_no_key(nsm: DevNsm) -> None:
    assert repr(nsm) == f"<DevNsm {MODULE_ID}>"
