"""The ioctl device, with a kernel of the test's own."""

from __future__ import annotations

import ctypes
import errno
from collections.abc import Callable, Iterator
from pathlib import Path

import cbor2
import pytest

from blindgate.attestation import parse
from devstack.nsm import DevNsm
from enclave_app.nsm import (
    DeviceNsm,
    NsmBufferTooSmall,
    NsmInputTooLarge,
    NsmInternalError,
    NsmInvalidArgument,
    NsmInvalidIndex,
    NsmInvalidOperation,
    NsmInvalidResponse,
    NsmProtocolError,
    NsmReadOnlyIndex,
    NsmRefused,
    NsmUnavailable,
    open_nsm,
)
from enclave_app.nsm.device import NSM_IOCTL_RAW, RawMessage
from tests.vectors.forge import MODULE_ID, PCRS, ROOT

IMAGE = {i: PCRS[i] for i in (0, 1, 2)}


class Kernel:
    """Answers ioctls as the kernel's driver does: through the addresses in the message."""

    def __init__(self, handle: Callable[[bytes], bytes]) -> None:
        self.handle = handle
        self.requests: list[bytes] = []

    def __call__(self, fd: int, request: int, message: RawMessage, mutate: bool, /) -> int:
        assert fd >= 0
        assert request == 0xC0200A00
        assert mutate
        assert message.response.length == 12288
        asked = ctypes.string_at(message.request.address, message.request.length)
        self.requests.append(asked)
        answer = self.handle(asked)
        ctypes.memmove(message.response.address, answer, len(answer))
        message.response.length = len(answer)
        return 0


@pytest.fixture
def kernel() -> Kernel:
    return Kernel(DevNsm(ROOT, MODULE_ID, IMAGE).handle)


@pytest.fixture
def path(tmp_path: Path) -> str:
    device = tmp_path / "nsm"
    device.touch()
    return str(device)


@pytest.fixture
def nsm(path: str, kernel: Kernel) -> Iterator[DeviceNsm]:
    with DeviceNsm(path, ioctl=kernel) as device:
        yield device


def test_ioctl_number_is_the_kernel_s() -> None:
    assert NSM_IOCTL_RAW == 0xC0200A00
    assert ctypes.sizeof(RawMessage) == 32


def test_attests_with_all_three_fields(nsm: DeviceNsm, kernel: Kernel) -> None:
    document = parse(nsm.attest(nonce=b"n" * 16, user_data=b"data"))
    assert (document.nonce, document.user_data, document.public_key) == (b"n" * 16, b"data", None)
    assert cbor2.loads(kernel.requests[0]) == {
        "Attestation": {"user_data": b"data", "nonce": b"n" * 16, "public_key": None}
    }


def test_randomness(nsm: DeviceNsm, kernel: Kernel) -> None:
    assert len(nsm.get_random()) == 256
    assert cbor2.loads(kernel.requests[0]) == "GetRandom"


def test_description(nsm: DeviceNsm) -> None:
    description = nsm.describe()
    assert description.module_id == MODULE_ID
    assert description.version == (1, 0, 0)
    assert (description.max_pcrs, description.digest) == (32, "SHA384")
    assert description.locked_pcrs == tuple(range(16))


def test_pcrs_extend_and_lock(nsm: DeviceNsm) -> None:
    assert nsm.describe_pcr(0).value == IMAGE[0]
    value = nsm.extend_pcr(16, b"data")
    assert nsm.describe_pcr(16).value == value
    assert not nsm.describe_pcr(16).locked
    nsm.lock_pcr(16)
    assert nsm.describe_pcr(16).locked
    nsm.lock_pcrs(20)
    assert nsm.describe().locked_pcrs == tuple(range(20))
    with pytest.raises(NsmReadOnlyIndex):
        nsm.extend_pcr(16, b"data")
    with pytest.raises(NsmInvalidIndex):
        nsm.describe_pcr(32)


@pytest.mark.parametrize(
    "error",
    [
        NsmInvalidArgument, NsmInvalidIndex, NsmInvalidResponse, NsmReadOnlyIndex,
        NsmInvalidOperation, NsmBufferTooSmall, NsmInputTooLarge, NsmInternalError,
    ],
)  # fmt: skip
def test_every_refusal_has_its_error(path: str, error: type[NsmRefused]) -> None:
    kernel = Kernel(lambda _: cbor2.dumps({"Error": error.code}))
    with DeviceNsm(path, ioctl=kernel) as nsm, pytest.raises(error, match=error.code):
        nsm.get_random()


@pytest.mark.parametrize(
    ("number", "error"),
    [(errno.EMSGSIZE, NsmInputTooLarge), (errno.EIO, NsmInternalError)],
)
def test_the_driver_s_errno(path: str, number: int, error: type[NsmRefused]) -> None:
    def failing(_: bytes) -> bytes:
        raise OSError(number, "driver")

    with DeviceNsm(path, ioctl=Kernel(failing)) as nsm, pytest.raises(error):
        nsm.get_random()


def test_a_request_over_4096_bytes_is_not_sent(nsm: DeviceNsm, kernel: Kernel) -> None:
    with pytest.raises(NsmInputTooLarge):
        nsm.extend_pcr(16, bytes(4096))
    assert kernel.requests == []


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"\xff",
        cbor2.dumps("DescribeNSM"),
        cbor2.dumps({"Error": "Unheard"}),
        cbor2.dumps({"Error": 1}),
        cbor2.dumps({"DescribePCR": {"lock": True, "data": bytes(48)}}),
        cbor2.dumps({"DescribeNSM": {}}),
        cbor2.dumps({"DescribeNSM": {"version_major": True}}),
        cbor2.dumps([1]),
    ],
)
def test_an_answer_to_nothing_asked_is_an_error(path: str, answer: bytes) -> None:
    with DeviceNsm(path, ioctl=Kernel(lambda _: answer)) as nsm, pytest.raises(NsmProtocolError):
        nsm.describe()


@pytest.mark.parametrize(
    "fields",
    [
        {"module_id": b"bytes"},
        {"max_pcrs": "32"},
        {"locked_pcrs": 3},
        {"locked_pcrs": [True]},
        {"digest": None},
    ],
)
def test_every_field_of_a_description_is_checked(path: str, fields: dict[str, object]) -> None:
    good = {
        "version_major": 1, "version_minor": 0, "version_patch": 0, "module_id": "m",
        "max_pcrs": 32, "locked_pcrs": [0], "digest": "SHA384",
    }  # fmt: skip
    answer = cbor2.dumps({"DescribeNSM": {**good, **fields}})
    with DeviceNsm(path, ioctl=Kernel(lambda _: answer)) as nsm, pytest.raises(NsmProtocolError):
        nsm.describe()


def test_a_flag_is_checked(path: str) -> None:
    answer = cbor2.dumps({"DescribePCR": {"lock": 1, "data": bytes(48)}})
    with DeviceNsm(path, ioctl=Kernel(lambda _: answer)) as nsm, pytest.raises(NsmProtocolError):
        nsm.describe_pcr(0)


def test_no_device(tmp_path: Path) -> None:
    with pytest.raises(NsmUnavailable, match="No such file"):
        DeviceNsm(str(tmp_path / "absent"))


def test_a_closed_device(nsm: DeviceNsm) -> None:
    nsm.close()
    nsm.close()
    with pytest.raises(NsmUnavailable, match="closed"):
        nsm.get_random()


def test_the_real_ioctl_on_something_else_is_an_error(path: str) -> None:
    with DeviceNsm(path) as nsm, pytest.raises(NsmInternalError):
        nsm.get_random()


@pytest.mark.parametrize("where", ["", "/dev/other", "unix://relative", "tcp://127.0.0.1:1"])
def test_only_the_device_or_a_unix_socket_can_be_opened(where: str) -> None:
    with pytest.raises(NsmUnavailable, match="neither"):
        open_nsm(where)


def test_a_development_socket_is_asked_for_by_its_address(tmp_path: Path) -> None:
    with pytest.raises(NsmUnavailable):
        open_nsm(f"unix://{tmp_path}/absent")
