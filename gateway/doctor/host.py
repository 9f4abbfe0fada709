"""What checks may do to the machine that they examine.

Checks use nothing but this interface, so tests give them a machine of their own. Everything here
blocks, has a timeout and a limit of size, and changes nothing.
"""

from __future__ import annotations

import contextlib
import errno
import grp
import http.client
import os
import platform
import signal
import socket
import ssl
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Protocol
from urllib.parse import urlsplit

from blindgate.link.addresses import Address
from blindgate.link.blocking import request_status
from blindgate.link.dial import dial
from blindgate.link.errors import DialError

#: Configuration files have a few hundred bytes; a list of measurements some kilobytes.
MAX_FILE: Final = 256 * 1024
#: What programs such as nitro-cli, systemctl and journalctl print here.
MAX_OUTPUT: Final = 1024 * 1024
#: A response that checks read: credentials of IMDS, the readiness, an error of KMS.
MAX_BODY: Final = 64 * 1024
#: Seconds for one file, program or connection: all of them are on this machine or in this Region.
SECONDS: Final = 5.0


@dataclass(frozen=True, slots=True)
class Done:
    """A program that has ended."""

    code: int
    stdout: str
    stderr: str = ""


@dataclass(frozen=True, slots=True)
class Node:
    """A file as `stat` shows it."""

    mode: int
    group: str


@dataclass(frozen=True, slots=True)
class HttpResponse:
    """A response; header names are in lower case. Its body may hold credentials."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = field(default=b"", repr=False)


class PolicyHidden(Exception):
    """KMS does not let this role read the key's policy."""


class PolicyUnreadable(Exception):
    """KMS has no such key, or was not reached; the text says which."""


class Host(Protocol):
    """A machine."""

    def now(self) -> float:
        """Its clock, in Unix seconds."""
        ...

    def architecture(self) -> str:
        """`x86_64` or `aarch64`."""
        ...

    def read(self, path: str, *, limit: int = MAX_FILE, offset: int = 0) -> bytes:
        """At most `limit` bytes of a file. Raises OSError."""
        ...

    def node(self, path: str) -> Node:
        """Look at a file, device or folder. Raises OSError."""
        ...

    def run(self, *command: str) -> Done:
        """Run a program to its end. Raises OSError, TimeoutError among them."""
        ...

    def resolve(self, name: str) -> tuple[str, ...]:
        """The addresses of a host name. Raises OSError."""
        ...

    def http(
        self,
        url: str,
        *,
        method: str = "GET",
        headers: Mapping[str, str] | None = None,
        via: Address | None = None,
    ) -> HttpResponse:
        """Make a request; with `via` the connection is opened there. Raises OSError."""
        ...

    def worker_status(self, address: Address) -> Mapping[str, Any]:
        """Ask an enclave for its status over the link. Raises OSError or BlindgateError."""
        ...

    def key_policy(self, arn: str, region: str) -> str:
        """The policy of a KMS key. Raises PolicyHidden or PolicyUnreadable."""
        ...


class ThisMachine:
    """The machine that this process runs on.

    Args:
        seconds: For one file, program or connection.
    """

    def __init__(self, seconds: float = SECONDS) -> None:
        self._seconds = seconds

    def now(self) -> float:
        """Unix seconds."""
        return time.time()

    def architecture(self) -> str:
        """As the kernel names it."""
        return platform.machine()

    def read(self, path: str, *, limit: int = MAX_FILE, offset: int = 0) -> bytes:
        """Raises OSError."""
        with Path(path).open("rb") as file:
            if offset:
                file.seek(offset)
            return file.read(limit)

    def node(self, path: str) -> Node:
        """Raises OSError."""
        found = Path(path).stat()
        try:
            group = grp.getgrgid(found.st_gid).gr_name
        except KeyError:
            group = str(found.st_gid)
        return Node(found.st_mode, group)

    def run(self, *command: str) -> Done:
        """Raises OSError."""
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            env={**os.environ, "LC_ALL": "C"},
            start_new_session=True,
        )
        with process:
            try:
                out, errors = process.communicate(timeout=self._seconds)
            except subprocess.TimeoutExpired:
                # Its children as well: one that holds the pipe would be waited for.
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                raise TimeoutError(
                    errno.ETIMEDOUT, f"{command[0]} did not end within {self._seconds:.0f} seconds"
                ) from None
        return Done(process.returncode, out[-MAX_OUTPUT:], errors[-MAX_OUTPUT:])

    def resolve(self, name: str) -> tuple[str, ...]:
        """Raises OSError."""
        found = socket.getaddrinfo(name, 443, type=socket.SOCK_STREAM)
        return tuple(dict.fromkeys(str(each[4][0]) for each in found))

    def http(
        self,
        url: str,
        *,
        method: str = "GET",
        headers: Mapping[str, str] | None = None,
        via: Address | None = None,
    ) -> HttpResponse:
        """Raises OSError; `ssl.SSLError` if the other side is not the named one."""
        parts = urlsplit(url)
        host = parts.hostname or ""
        port = parts.port or (443 if parts.scheme == "https" else 80)
        sock = self._connected(host, port, via)
        try:
            if parts.scheme == "https":
                sock = ssl.create_default_context().wrap_socket(sock, server_hostname=host)
            connection = http.client.HTTPConnection(host, port, timeout=self._seconds)
            connection.sock = sock
            try:
                connection.request(method, parts.path or "/", headers=dict(headers or {}))
                response = connection.getresponse()
                body = response.read(MAX_BODY)
            except http.client.HTTPException as error:
                raise ConnectionError(f"no HTTP response: {type(error).__name__}") from error
        finally:
            sock.close()
        names = {name.lower(): value for name, value in response.getheaders()}
        return HttpResponse(response.status, names, body)

    def _connected(self, host: str, port: int, via: Address | None) -> socket.socket:
        if via is None:
            return socket.create_connection((host, port), timeout=self._seconds)
        try:
            sock = dial(via, self._seconds)
        except DialError as error:
            if isinstance(error.__cause__, OSError):
                raise error.__cause__ from None
            raise ConnectionError(str(error)) from None
        sock.settimeout(self._seconds)
        return sock

    def worker_status(self, address: Address) -> Mapping[str, Any]:
        """Raises OSError or BlindgateError."""
        with contextlib.closing(dial(address, self._seconds)) as sock:
            sock.settimeout(self._seconds)
            return request_status(sock, deadline=self._seconds)

    def key_policy(self, arn: str, region: str) -> str:
        """Raises PolicyHidden or PolicyUnreadable."""
        import botocore.session
        from botocore.config import Config
        from botocore.exceptions import BotoCoreError, ClientError

        config = Config(
            connect_timeout=self._seconds, read_timeout=self._seconds, retries={"max_attempts": 0}
        )
        try:
            client = botocore.session.Session().create_client(
                "kms", region_name=region, config=config
            )
            answer = client.get_key_policy(KeyId=arn, PolicyName="default")
        except ClientError as error:
            code = error.response.get("Error", {}).get("Code", "")
            if code.startswith("AccessDenied"):
                raise PolicyHidden(code) from None
            raise PolicyUnreadable(f"KMS says {code}") from None
        except (BotoCoreError, OSError, ValueError) as error:
            # The text may quote what was read; the class says enough.
            raise PolicyUnreadable(f"asking KMS failed with {type(error).__name__}") from None
        return str(answer["Policy"])
