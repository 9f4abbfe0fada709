"""Tells nitro-cli that the enclave has booted; it calls the enclave failed otherwise.

nitro-cli listens at the parent's vsock port 9000, reads one byte and sends it back. Where nobody
listens, as under an emulator, nothing depends on it.

Source: aws/aws-nitro-enclaves-sdk-bootstrap `init/init.c`; aws/aws-nitro-enclaves-cli
`enclave_proc/resource_manager.rs`.
"""

from __future__ import annotations

import socket
import sys
import tomllib
from pathlib import Path
from typing import Final

PORT: Final = 9000
BEAT: Final = b"\xb7"
#: The parent of a Nitro enclave.
PARENT_CID: Final = 3
_SECONDS: Final = 10.0


def parent_cid(config: str) -> int:
    """The parent's CID: the one that the measured configuration reaches KMS through.

    Args:
        config: The text of the measured configuration.
    """
    address = str(tomllib.loads(config).get("kms", {}).get("address", ""))
    place = address.removeprefix("vsock://").partition(":")[0]
    return int(place) if address.startswith("vsock://") and place.isdigit() else PARENT_CID


def beat(connection: socket.socket) -> bool:
    """Send one beat and wait for it to come back."""
    connection.sendall(BEAT)
    return connection.recv(1) == BEAT


def main() -> None:
    """Send a beat to the parent, if it listens."""
    cid = parent_cid(Path(sys.argv[1]).read_text())
    with socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM) as connection:
        connection.settimeout(_SECONDS)
        try:
            connection.connect((cid, PORT))
            answered = beat(connection)
        except OSError as error:
            sys.stderr.write(f"heartbeat: nobody listens ({error})\n")
            return
    sys.stderr.write(f"heartbeat: {'answered' if answered else 'not answered'}\n")


if __name__ == "__main__":
    main()
