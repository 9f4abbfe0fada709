"""A KMS that misbehaves on demand: real TLS and real CMS, over a Unix socket.

What KMS refuses by rule is tested against the dev KMS; this one lies, stalls and breaks.
"""

from __future__ import annotations

import base64
import contextlib
import datetime
import json
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cbor2
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_der_public_key,
)
from cryptography.x509.oid import NameOID

from blindgate.link import UnixAddress
from blindgate.link.dial import listen
from tests.enclave_app import cms_building

HOST = "kms.us-east-1.amazonaws.com"
KEY_ARN = "arn:aws:kms:us-east-1:111122223333:key/11111111-2222-3333-4444-555555555555"
OTHER_ARN = "arn:aws:kms:us-east-1:111122223333:key/99999999-2222-3333-4444-555555555555"
DATA_KEY = bytes(range(32))
CONTEXT = {"purpose": "blindgate"}


class FakeNsm:
    """Documents that carry what they must, signed by nobody."""

    def __init__(self) -> None:
        self.documents: list[dict[str, Any]] = []

    def attest(
        self,
        *,
        public_key: bytes | None = None,
        user_data: bytes | None = None,
        nonce: bytes | None = None,
    ) -> bytes:
        document = {
            "public_key": public_key,
            "user_data": user_data,
            "nonce": nonce,
            "number": len(self.documents),
        }
        self.documents.append(document)
        return cbor2.dumps(document)


class Ca:
    """A certificate authority for one test run."""

    def __init__(self, name: str = "Test CA") -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self._certificate = self._sign(self._name, self._key.public_key(), is_ca=True)
        self.pem = self._certificate.public_bytes(Encoding.PEM)

    def serve_as(self, folder: Path, host: str = HOST, *, expired: bool = False) -> ssl.SSLContext:
        """A server's TLS context with a certificate for `host`."""
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "server")])
        certificate = self._sign(name, key.public_key(), host=host, expired=expired)
        file = folder / f"{host}-{expired}.pem"
        file.write_bytes(
            key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
            + certificate.public_bytes(Encoding.PEM)
        )
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(file)
        return context

    def _sign(
        self,
        name: x509.Name,
        key: ec.EllipticCurvePublicKey,
        *,
        host: str | None = None,
        expired: bool = False,
        is_ca: bool = False,
    ) -> x509.Certificate:
        now = datetime.datetime.now(datetime.UTC)
        day = datetime.timedelta(days=1)
        builder = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(self._name)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - 10 * day)
            .not_valid_after(now - day if expired else now + day)
            .add_extension(x509.BasicConstraints(ca=is_ca, path_length=None), critical=True)
        )
        if host:
            builder = builder.add_extension(
                x509.SubjectAlternativeName([x509.DNSName(host)]), critical=False
            )
        return builder.sign(self._key, hashes.SHA256())


@dataclass
class Request:
    """What the client sent."""

    headers: dict[str, str]
    body: dict[str, Any]

    @property
    def document(self) -> dict[str, Any]:
        sent = base64.b64decode(self.body["Recipient"]["AttestationDocument"])
        document: dict[str, Any] = cbor2.loads(sent)
        return document

    @property
    def recipient(self) -> RSAPublicKey:
        key = load_der_public_key(self.document["public_key"])
        assert isinstance(key, RSAPublicKey)
        return key


@dataclass
class Answer:
    """What the server sends back, and how."""

    status: int = 200
    body: dict[str, Any] | bytes = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=dict)
    close: bool = False
    stall: float = 0.0

    def encode(self) -> bytes:
        body = self.body if isinstance(self.body, bytes) else json.dumps(self.body).encode()
        headers = {
            "content-length": str(len(body)),
            "x-amzn-RequestId": "0f0e0d0c-1234-5678-9abc-def012345678",
            **self.headers,
        }
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        return f"HTTP/1.1 {self.status} X\r\n{lines}\r\n".encode() + body


Behaviour = Callable[[Request], Answer]


def good(request: Request, **changes: Any) -> Answer:
    """A right answer, or one with some members changed."""
    blob = cms_building.enveloped(request.recipient, DATA_KEY)
    body = {
        "KeyId": request.body["KeyId"],
        "EncryptionAlgorithm": "SYMMETRIC_DEFAULT",
        "CiphertextForRecipient": base64.b64encode(blob).decode(),
        "Plaintext": None,
        **changes,
    }
    return Answer(body=body)


def error(kind: str, status: int = 400, message: str = "the secret reason of KMS") -> Answer:
    """An error as KMS words it."""
    return Answer(status, {"__type": kind, "message": message})


class FakeKms:
    """The server. `behaviours` are used up one a request; then it answers rightly."""

    def __init__(self, address: UnixAddress, tls: ssl.SSLContext | None) -> None:
        self.address = address
        self.behaviours: list[Behaviour] = []
        self.requests: list[Request] = []
        self.connections = 0
        self._tls = tls
        self._listener = listen(address)
        self._open: set[socket.socket] = set()
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def hang_up(self) -> None:
        """Break every connection that is open."""
        for sock in list(self._open):
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._threads[0].join()
        self._listener.close()
        self.hang_up()
        for thread in self._threads:
            thread.join()

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            thread = threading.Thread(target=self._serve, args=(sock,))
            self._threads.append(thread)
            thread.start()

    def _serve(self, raw: socket.socket) -> None:
        sock = raw
        with contextlib.suppress(OSError):
            if self._tls is not None:
                sock = self._tls.wrap_socket(raw, server_side=True)
            self._open.add(sock)
            with sock, sock.makefile("rb") as stream:
                while request := _read(stream):
                    self.requests.append(request)
                    behave = self.behaviours.pop(0) if self.behaviours else good
                    answer = behave(request)
                    if answer.stall:
                        time.sleep(answer.stall)
                    sock.sendall(answer.encode())
                    if answer.close:
                        break
        self._open.discard(sock)
        raw.close()


def _read(stream: Any) -> Request | None:
    if not stream.readline():
        return None
    headers = {}
    while (line := stream.readline().decode().strip()) != "":
        name, _, value = line.partition(":")
        headers[name.lower()] = value.strip()
    return Request(headers, json.loads(stream.read(int(headers["content-length"]))))


@contextlib.contextmanager
def fake_kms(folder: Path, tls: ssl.SSLContext | None) -> Iterator[FakeKms]:
    server = FakeKms(UnixAddress(str(folder / "kms.sock")), tls)
    try:
        yield server
    finally:
        server.close()
