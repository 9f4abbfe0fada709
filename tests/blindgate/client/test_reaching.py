"""Why a gateway did not answer: over real sockets, in words for a person."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import httpx
import pytest

from blindgate.client import Blindgate, ClientError, GatewayUnreachable, InvalidGateway
from blindgate.client.httpx_bridge import origin
from devstack.kms.tls import ensure_certificates
from devstack.nsm import DevRoot
from tests import command_line
from tests.blindgate.client.gateway import PCRS, trust, write_state

Say = Callable[[str], list[str]]


class Elsewhere(BaseHTTPRequestHandler):
    """A server that is no Blindgate: a page, or a redirect."""

    def do_GET(self) -> None:
        server = self.server
        assert isinstance(server, Server)
        self.send_response(server.status)
        if 300 <= server.status < 400:
            self.send_header("location", "https://elsewhere.example/\x9b2J")
        body = b"<html>Welcome</html>"
        self.send_header("content-type", "text/html")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Keep the test's output clean."""


class Server(HTTPServer):
    """Answers every request in one way."""

    def __init__(self, status: int) -> None:
        super().__init__(("127.0.0.1", 0), Elsewhere)
        self.status = status

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that speaks something else is expected here."""


@contextmanager
def serving(status: int = 200, certificates: Path | None = None) -> Iterator[int]:
    with Server(status) as server:
        if certificates is not None:
            made = ensure_certificates(certificates, "us-east-1")
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(made.certificate, made.key)
            server.socket = context.wrap_socket(
                server.socket, server_side=True, do_handshake_on_connect=False
            )
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join(30)


@contextmanager
def breaking_off() -> Iterator[int]:
    """A server that closes each connection without a word, as many do that want TLS."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        stopped = threading.Event()
        listener.settimeout(0.05)

        def serve() -> None:
            while not stopped.is_set():
                try:
                    connection, _ = listener.accept()
                except TimeoutError:
                    continue
                with connection:
                    connection.settimeout(5)
                    connection.recv(65536)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            stopped.set()
            thread.join(30)


@pytest.fixture
def said(root: DevRoot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Say:
    """What the SDK and both commands say of a URL."""
    write_state(tmp_path / "state", root, PCRS)
    monkeypatch.setenv("BLINDGATE_DEV_ROOT", str(tmp_path / "state"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "none"))
    for name in ("BLINDGATE_GATEWAY", "BLINDGATE_TRUST", "BLINDGATE_API_KEY", "BLINDGATE_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    photo = tmp_path / "photo.png"
    photo.write_bytes(b"\x89PNG\r\n\x1a\n and so on")

    def say(url: str) -> list[str]:
        with Blindgate(url, trust=trust(root)) as client, pytest.raises(ClientError) as failed:
            client.detect(photo)
        texts = [str(failed.value)]
        for words in (["detect", photo], ["verify"]):
            done = command_line.run(*words, "--gateway", url, "--trust", "development")
            assert done.exit_code == 1
            assert done.stdout == ""
            # The first may be the warning about the development root.
            texts.append(done.stderr.splitlines()[-1])
        assert all(text.isprintable() for text in texts)
        return texts

    return say


def test_https_to_a_port_for_http(said: Say) -> None:
    with serving() as port:
        texts = said(f"https://127.0.0.1:{port}")
    for text in texts:
        assert f"https://127.0.0.1:{port} does not speak TLS" in text
        assert f"should it be http://127.0.0.1:{port}?" in text


def test_http_to_a_port_for_https(said: Say) -> None:
    with breaking_off() as port:
        texts = said(f"http://127.0.0.1:{port}")
    for text in texts:
        assert "is it the port for https" in text


def test_a_certificate_that_is_not_trusted(said: Say, tmp_path: Path) -> None:
    with serving(certificates=tmp_path / "tls") as port:
        texts = said(f"https://127.0.0.1:{port}")
    for text in texts:
        assert f"the certificate of https://127.0.0.1:{port} is not trusted" in text
        assert "SSL_CERT_FILE" in text


@pytest.mark.parametrize("status", [200, 400, 403, 404, 502])
def test_a_server_that_is_no_blindgate(said: Say, status: int) -> None:
    with serving(status) as port:
        texts = said(f"http://127.0.0.1:{port}")
    for text in texts:
        assert "Blindgate gateway" in text
        assert text.endswith("?")
        assert "Welcome" not in text


def test_a_redirect_names_where_it_leads(said: Say) -> None:
    with serving(308) as port:
        texts = said(f"http://127.0.0.1:{port}")
    for text in texts[:2]:
        assert "redirects to https://elsewhere.example/" in text


def test_a_name_that_nobody_has(said: Say) -> None:
    for text in said("http://absent.invalid"):
        assert "there is no host absent.invalid" in text


def test_a_gateway_that_is_silent(root: DevRoot) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with (
            httpx.Client(timeout=0.2) as http,
            Blindgate(url, trust=trust(root), http=http) as client,
            pytest.raises(GatewayUnreachable, match="did not respond in time"),
        ):
            client.verify()


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("gateway.example", "http://gateway.example or https://gateway.example"),
        ("gateway.example:8080/v1", "http://gateway.example:8080"),
        ("localhost", "http://localhost"),
        ("//gateway.example", "is not the URL of a gateway"),
        ("", "is not the URL of a gateway"),
        ("ws://gateway.example", "is not the URL of a gateway"),
        ("https:///path", "is not the URL of a gateway"),
        ("https://gateway.example:99999", "is not the URL of a gateway"),
        ("https://gateway.example/console/", "write https://gateway.example"),
        ("https://gateway.example?x=1", "write https://gateway.example"),
        ("https://gateway.example/#top", "write https://gateway.example"),
        ("https://me:hunter2@gateway.example", "no user name and no password"),
        ("https://gate\x1bway", "is not the URL of a gateway"),
        (None, "is not the URL of a gateway"),
    ],
)
def test_what_is_no_url_of_a_gateway(url: str, says: str) -> None:
    with pytest.raises(InvalidGateway) as failed:
        origin(url)
    assert says in str(failed.value)
    assert "hunter2" not in str(failed.value)
    assert str(failed.value).isprintable()


@pytest.mark.parametrize(
    "url", ["http://h", "HTTPS://H/", "http://[::1]:8080", httpx.URL("https://h:443")]
)
def test_what_is_one(url: str | httpx.URL) -> None:
    assert origin(url).raw_path == b"/"
