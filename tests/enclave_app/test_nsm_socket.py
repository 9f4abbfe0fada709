"""The development socket, with good and bad modules behind it."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from blindgate.attestation import parse
from blindgate.link.addresses import UnixAddress
from blindgate.link.dial import listen
from devstack.nsm import DevNsm, NsmServer
from enclave_app.nsm import NsmProtocolError, NsmUnavailable, SocketNsm, open_nsm
from tests.vectors.forge import MODULE_ID, PCRS, ROOT


def _module() -> DevNsm:
    return DevNsm(ROOT, MODULE_ID, {i: PCRS[i] for i in (0, 1, 2)})


def test_speaks_to_the_dev_nsm(tmp_path: Path) -> None:
    address = UnixAddress(str(tmp_path / "s"))
    with NsmServer(_module(), address):
        nsm = open_nsm(str(address))
        assert isinstance(nsm, SocketNsm)
        with nsm:
            assert parse(nsm.attest(nonce=b"n" * 16)).nonce == b"n" * 16
            assert nsm.describe().module_id == MODULE_ID


def test_connects_again_after_the_module_restarted(tmp_path: Path) -> None:
    address = UnixAddress(str(tmp_path / "s"))
    with NsmServer(_module(), address):
        nsm = SocketNsm(address.path)
        nsm.get_random()
    with pytest.raises(NsmUnavailable):
        nsm.get_random()
    with NsmServer(_module(), address), nsm:
        assert nsm.get_random()


@contextmanager
def _peer(path: Path, behave: Callable[[socket.socket], object]) -> Iterator[SocketNsm]:
    """A client whose module does what `behave` says, once."""
    with listen(UnixAddress(str(path))) as listener:

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(4096)
                behave(connection)

        thread = threading.Thread(target=serve)
        thread.start()
        with SocketNsm(str(path)) as nsm:
            yield nsm
        thread.join()


@pytest.mark.parametrize("answer", [b"", b"\x00\x00", struct.pack(">I", 10) + b"short"])
def test_a_module_that_ends_within_an_answer(tmp_path: Path, answer: bytes) -> None:
    with (
        _peer(tmp_path / "s", lambda peer: peer.sendall(answer)) as nsm,
        pytest.raises(NsmUnavailable),
    ):
        nsm.get_random()


def test_a_module_that_answers_too_much(tmp_path: Path) -> None:
    with (
        _peer(tmp_path / "s", lambda peer: peer.sendall(struct.pack(">I", 12_289))) as nsm,
        pytest.raises(NsmProtocolError, match="longer"),
    ):
        nsm.get_random()


def test_nobody_listens(tmp_path: Path) -> None:
    with pytest.raises(NsmUnavailable):
        SocketNsm(str(tmp_path / "absent"))
