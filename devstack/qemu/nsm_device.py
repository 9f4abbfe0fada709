"""A virtio-nsm device that the dev NSM answers: what makes `/dev/nsm` in an emulated enclave.

    python -m devstack.qemu.nsm_device --socket V.nsm --root-dir DIR --pcrs FILE.json

The driver puts a request and room for its answer into the only queue, as one chain or as two.

Source: Linux `drivers/misc/nsm.c`; virtio device id 33.
"""

from __future__ import annotations

import argparse
import os
import signal
import socket
import sys
from collections import deque
from pathlib import Path
from types import FrameType

from blindgate.attestation import PcrSet
from blindgate.errors import BlindgateError
from blindgate.failures import one_line_errors
from blindgate.link.addresses import UnixAddress
from blindgate.link.dial import listen
from devstack.nsm.protocol import DevNsm
from devstack.nsm.root import DevRoot
from devstack.qemu.vhost_user import Backend
from devstack.qemu.virtqueue import Chain, GuestError, Virtqueue, scatter


class NsmDevice:
    """Matches requests with the room for their answers.

    Args:
        nsm: Answers.
    """

    def __init__(self, nsm: DevNsm) -> None:
        self._nsm = nsm
        self._requests: deque[Chain] = deque()
        self._rooms: deque[Chain] = deque()

    def on_kick(self, queue: Virtqueue) -> bool:
        """Answer what has come; whether the driver is to be told."""
        answered = False
        for chain in queue.take():
            if chain.readable and chain.writable:
                answer = self._nsm.handle(chain.readable)
                queue.give_back(chain, scatter(answer, chain.writable))
                answered = True
            elif chain.writable:
                self._rooms.append(chain)
            else:
                self._requests.append(chain)
            answered |= self._answer_pair(queue)
        return answered

    def _answer_pair(self, queue: Virtqueue) -> bool:
        if not (self._requests and self._rooms):
            return False
        request, room = self._requests.popleft(), self._rooms.popleft()
        answer = self._nsm.handle(request.readable)
        queue.give_back(request, 0)
        queue.give_back(room, scatter(answer, room.writable))
        return True


def serve(nsm: DevNsm, listener: socket.socket) -> None:
    """Play the device for one virtual machine after the other, until interrupted."""
    while True:
        connection, _ = listener.accept()
        with connection, Backend(connection, NsmDevice(nsm).on_kick) as backend:
            try:
                backend.serve()
            except (GuestError, OSError) as error:
                sys.stderr.write(f"virtio-nsm: {error}\n")


def main() -> int:
    """Run until SIGINT or SIGTERM; 1 if it could not begin."""
    parser = argparse.ArgumentParser(prog="python -m devstack.qemu.nsm_device")
    parser.add_argument("--socket", type=Path, required=True, help="where QEMU connects")
    parser.add_argument("--root-dir", type=Path, required=True, help="where the dev root is kept")
    parser.add_argument("--pcrs", type=Path, required=True, help="measurements of the image")
    parser.add_argument("--role-arn", default="arn:aws:iam::111122223333:role/blindgate-parent")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        nsm = DevNsm(
            DevRoot.load_or_create(options.root_dir),
            f"i-0{os.urandom(8).hex()}-enc{os.urandom(8).hex()}",
            PcrSet.from_file(options.pcrs).values,
            role_arn=options.role_arn,
        )
        with listen(UnixAddress(str(options.socket.absolute()))) as listener:
            sys.stderr.write(f"virtio-nsm for {nsm.module_id} at {options.socket}\n")
            serve(nsm, listener)
    except (BlindgateError, ValueError) as error:
        sys.stderr.write(f"devstack.qemu.nsm_device: {error}\n")
        return 1
    except KeyboardInterrupt:
        return 0
    return 0


def _interrupt(_signal: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    with one_line_errors("devstack.qemu.nsm_device"):
        sys.exit(main())
