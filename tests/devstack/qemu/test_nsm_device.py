from __future__ import annotations

import os
import socket
import struct
import sys
import threading
from collections.abc import Iterator
from typing import Any

import cbor2
import pytest

from blindgate.attestation import verify_chain_and_signature
from devstack.nsm.protocol import DevNsm
from devstack.nsm.root import DevRoot
from devstack.qemu.nsm_device import NsmDevice
from devstack.qemu.vhost_user import Backend
from devstack.qemu.virtqueue import GuestError
from tests.devstack.qemu.fake_qemu import DATA, GUEST, NEXT, QUEUE, WRITE, FakeQemu

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="vhost-user is Linux's")

ROOT = DevRoot.generate()
PCRS = {0: b"\1" * 48, 1: b"\2" * 48, 2: b"\3" * 48}
ATTEST = {"Attestation": {"user_data": None, "nonce": b"n" * 16, "public_key": None}}


@pytest.fixture
def qemu() -> Iterator[FakeQemu]:
    nsm = DevNsm(ROOT, "i-0123456789abcdef0-enc0123456789abcdef", PCRS)
    ours, theirs = socket.socketpair()
    faults: list[Exception] = []

    def play() -> None:
        try:
            with theirs, Backend(theirs, NsmDevice(nsm).on_kick) as backend:
                backend.serve()
        except GuestError as error:
            faults.append(error)

    thread = threading.Thread(target=play)
    thread.start()
    with ours, FakeQemu(ours) as machine:
        yield machine
        ours.shutdown(socket.SHUT_RDWR)
        thread.join()
    assert not faults


def put(machine: FakeQemu, request: object) -> int:
    data = cbor2.dumps(request)
    machine.memory[DATA : DATA + len(data)] = data
    return len(data)


def answer(machine: FakeQemu, length: int) -> dict[str, dict[str, Any]]:
    place = DATA + 0x1000
    found = cbor2.loads(machine.memory[place : place + length])
    assert isinstance(found, dict)
    return found


def test_two_buffers_as_linux_offers_them_give_a_signed_document(qemu: FakeQemu) -> None:
    assert struct.unpack("<Q", qemu.ask(1)) == (1 << 32 | 1 << 30,)
    qemu.begin()
    qemu.enable()
    qemu.describe(0, GUEST + DATA, put(qemu, ATTEST))
    qemu.describe(1, GUEST + DATA + 0x1000, 0x3000, WRITE)
    qemu.offer(0, 1)
    assert qemu.interrupted()
    (request, room) = qemu.used()
    assert request == (0, 0)
    assert room[0] == 1
    document = answer(qemu, room[1])["Attestation"]["document"]
    attestation = verify_chain_and_signature(document, root=ROOT.root, nonce=b"n" * 16)
    assert attestation.pcrs[0] == PCRS[0]


def test_one_chain_is_as_good(qemu: FakeQemu) -> None:
    qemu.begin()
    qemu.enable()
    length = put(qemu, "GetRandom")
    # The room for the answer in two parts, which it fills one after the other.
    qemu.describe(3, GUEST + DATA, length, NEXT, 4)
    qemu.describe(4, GUEST + DATA + 0x1000, 100, NEXT | WRITE, 5)
    qemu.describe(5, GUEST + DATA + 0x1064, 1000, WRITE)
    qemu.offer(3)
    assert qemu.interrupted()
    ((head, written),) = qemu.used()
    assert head == 3
    assert len(answer(qemu, written)["GetRandom"]["random"]) == 256


def test_a_request_made_before_the_queue_runs_is_answered_once_it_does(qemu: FakeQemu) -> None:
    qemu.begin()
    qemu.describe(0, GUEST + DATA, put(qemu, "DescribeNSM"))
    qemu.describe(1, GUEST + DATA + 0x1000, 0x1000, WRITE)
    qemu.offer(0, 1)
    assert not qemu.interrupted(0.05)
    qemu.enable()
    assert qemu.interrupted()
    assert answer(qemu, qemu.used()[1][1])["DescribeNSM"]["digest"] == "SHA384"
    with pytest.raises(BlockingIOError):
        os.set_blocking(qemu.masked, False)
        os.eventfd_read(qemu.masked)


def test_many_requests_go_round_the_ring(qemu: FakeQemu) -> None:
    qemu.begin()
    qemu.enable()
    for turn in range(3 * QUEUE):
        qemu.describe(0, GUEST + DATA, put(qemu, {"DescribePCR": {"index": turn % 3}}))
        qemu.describe(1, GUEST + DATA + 0x1000, 0x1000, WRITE)
        qemu.offer(0, 1)
        assert qemu.interrupted()
        assert answer(qemu, 200)["DescribePCR"]["data"] == PCRS[turn % 3]


def test_a_message_that_wants_a_reply_gets_one(qemu: FakeQemu) -> None:
    assert qemu.acknowledged(18, struct.pack("<II", 0, 0))
    assert qemu.acknowledged(3, b"")


def test_stopping_says_how_far_it_came(qemu: FakeQemu) -> None:
    qemu.begin()
    qemu.enable()
    qemu.describe(0, GUEST + DATA, put(qemu, "DescribeNSM"))
    qemu.describe(1, GUEST + DATA + 0x1000, 0x1000, WRITE)
    qemu.offer(0, 1)
    assert qemu.interrupted()
    assert qemu.ask(11, struct.pack("<II", 0, 0)) == struct.pack("<II", 0, 2)


@pytest.mark.parametrize(
    ("address", "length", "flags", "after", "message"),
    [
        (GUEST - 8, 16, 0, 0, "outside the guest's memory"),
        (GUEST + 0x10000 - 4, 16, 0, 0, "outside the guest's memory"),
        (GUEST + DATA, 4, NEXT, 0, "without an end"),
        (GUEST + DATA, 4, NEXT, 200, "descriptor 200"),
    ],
)
def test_a_driver_that_breaks_the_rules_ends_the_connection_and_nothing_else(
    address: int, length: int, flags: int, after: int, message: str
) -> None:
    nsm = DevNsm(ROOT, "i-0123456789abcdef0-enc0123456789abcdef", PCRS)
    ours, theirs = socket.socketpair()
    with ours, theirs, FakeQemu(ours) as machine:
        machine.begin()
        machine.enable()
        machine.describe(0, address, length, flags, after)
        machine.offer(0)
        # All of it waits in the socket: nothing needs another thread.
        ours.shutdown(socket.SHUT_WR)
        with (
            Backend(theirs, NsmDevice(nsm).on_kick) as backend,
            pytest.raises(GuestError, match=message),
        ):
            backend.serve()


@pytest.mark.parametrize("data", [b"\xff" * 12, struct.pack("<III", 5, 1, 8) + bytes(4)])
def test_what_is_no_vhost_user_is_a_typed_error(data: bytes) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs, Backend(theirs, lambda _: False) as backend:
        ours.sendall(data)
        ours.shutdown(socket.SHUT_WR)
        with pytest.raises(GuestError):
            backend.serve()
