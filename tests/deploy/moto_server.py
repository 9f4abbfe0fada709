"""A local stand-in for AWS's control plane: moto's server, as a process of its own."""

from __future__ import annotations

import os
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import boto3

REGION: Final = "us-east-1"
ACCOUNT: Final = "123456789012"


@dataclass(frozen=True)
class Aws:
    """Where the stand-in is.

    Attributes:
        url: Its address.
    """

    url: str

    @property
    def environment(self) -> tuple[tuple[str, str], ...]:
        return (
            ("AWS_ENDPOINT_URL", self.url),
            ("AWS_ACCESS_KEY_ID", "test"),
            ("AWS_SECRET_ACCESS_KEY", "test"),
            ("AWS_REGION", REGION),
            ("AWS_DEFAULT_REGION", REGION),
            ("AWS_EC2_METADATA_DISABLED", "true"),
        )

    def client(self, service: str) -> Any:
        return boto3.client(
            service,
            region_name=REGION,
            endpoint_url=self.url,
            aws_access_key_id="test",
            aws_secret_access_key="test",
        )


@contextmanager
def serving(program: Path, log: Path) -> Iterator[Aws]:
    """Run moto's server until the end."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with (
        log.open("wb") as output,
        subprocess.Popen(
            [program, "-H", "127.0.0.1", "-p", str(port)],
            stdout=output,
            stderr=subprocess.STDOUT,
            # AWS's own managed policies are there only when asked for.
            env={**os.environ, "MOTO_IAM_LOAD_MANAGED_POLICIES": "true"},
        ) as process,
    ):
        try:
            _wait(process, port, log)
            yield Aws(f"http://127.0.0.1:{port}")
        finally:
            process.terminate()


def _wait(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    ends = time.monotonic() + 60
    while time.monotonic() < ends and process.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.1)
        else:
            return
    raise AssertionError(f"moto_server does not listen:\n{log.read_text()}")
