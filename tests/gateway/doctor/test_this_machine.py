"""The real host: files, programs, HTTP and KMS, each with its limit and its timeout."""

from __future__ import annotations

import json
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from blindgate.link import parse_address
from blindgate.link.dial import listen
from blindgate.link.errors import LinkError
from gateway.doctor.checks.kms import credentials
from gateway.doctor.checks.serving import gateway
from gateway.doctor.host import PolicyHidden, PolicyUnreadable, ThisMachine
from gateway.doctor.result import Outcome, Result
from gateway.doctor.setup import Setup
from tests.gateway.conftest import serve_gateway
from tests.gateway.doctor import fake_host as at
from tests.gateway.fake_worker import running


class Quiet(BaseHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass

    def reply(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


class Metadata(Quiet):
    """IMDSv2: nothing without a token, and no token by GET."""

    def do_PUT(self) -> None:
        asked = self.path == "/latest/api/token"
        lives = self.headers.get("X-aws-ec2-metadata-token-ttl-seconds", "")
        self.reply(*((200, b"a-token") if asked and lives.isdigit() else (400, b"")))

    def do_GET(self) -> None:
        if self.headers.get("X-aws-ec2-metadata-token") != "a-token":
            self.reply(401, b"")
        elif self.path.endswith("/security-credentials/"):
            self.reply(200, b"parent")
        elif self.path.endswith("/security-credentials/parent"):
            given = json.loads(at.credentials().body) | {"Expiration": "2099-01-01T00:00:00Z"}
            self.reply(200, json.dumps(given).encode())
        else:
            self.reply(404, b"")


class Kms(Quiet):
    """GetKeyPolicy: refused for one key, answered for another."""

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        key = body["KeyId"].rpartition("/")[2]
        if key == "hidden":
            self.reply(400, b'{"__type":"AccessDeniedException","message":"no"}')
        elif key == "absent":
            self.reply(400, b'{"__type":"NotFoundException","message":"no"}')
        else:
            self.reply(200, json.dumps({"Policy": "the policy", "PolicyName": "default"}).encode())


@contextmanager
def served(handler: type[BaseHTTPRequestHandler]) -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_credentials_are_asked_for_as_imdsv2_demands() -> None:
    with served(Metadata) as url:
        result = credentials(ThisMachine(), Setup(imds=url))
    assert result.outcome is Outcome.OK
    assert "role parent" in result.seen
    assert at.SECRET not in repr(result)


def test_a_response_keeps_its_body_out_of_its_repr() -> None:
    with served(Metadata) as url:
        answer = ThisMachine().http(f"{url}/latest/api/token")
        assert answer.status == 401
    assert at.SECRET not in repr(at.credentials())


def test_a_server_that_is_not_the_named_one_is_refused() -> None:
    with served(Metadata) as url, pytest.raises(ssl.SSLError):
        ThisMachine().http(url.replace("http:", "https:"))


def test_a_port_without_a_listener_is_an_os_error(tmp_path: Path) -> None:
    nobody = parse_address(f"unix://{tmp_path}/absent")
    with pytest.raises(FileNotFoundError):
        ThisMachine().http("http://kms/", via=nobody)


def test_a_peer_that_says_nothing_ends_by_the_timeout(tmp_path: Path) -> None:
    address = parse_address(f"unix://{tmp_path}/silent")
    with listen(address):
        with pytest.raises(TimeoutError):
            ThisMachine(0.2).http("http://kms/", via=address)
        with pytest.raises((OSError, LinkError)):
            ThisMachine(0.2).worker_status(address)


def test_a_program_that_hangs_is_killed() -> None:
    with pytest.raises(TimeoutError, match="did not end"):
        ThisMachine(0.2).run("sh", "-c", "sleep 60 & sleep 60")


def test_a_program_s_output_and_code_are_returned() -> None:
    done = ThisMachine().run("sh", "-c", "echo out; echo err >&2; exit 3")
    assert (done.code, done.stdout, done.stderr) == (3, "out\n", "err\n")


def test_a_part_of_a_file_is_read(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"0123456789")
    assert ThisMachine().read(f"{tmp_path}/file", limit=3, offset=4) == b"456"


@pytest.mark.anyio
async def test_a_worker_is_asked_for_its_status(tmp_path: Path) -> None:
    import anyio

    async with running(tmp_path / "enclave") as worker:
        del worker
        address = parse_address(f"unix://{tmp_path}/enclave")
        status = await anyio.to_thread.run_sync(ThisMachine().worker_status, address)
    assert status["ready"] is True
    assert status["model"]["name"] == "fake"


@pytest.mark.anyio
async def test_a_gateway_is_asked_whether_it_is_ready(tmp_path: Path) -> None:
    import anyio

    async def result(port: int) -> Result:
        setup = Setup(gateway={"BLINDGATE_HOST": "0.0.0.0", "BLINDGATE_PORT": str(port)})
        return await anyio.to_thread.run_sync(gateway, ThisMachine(), setup)

    async with running(tmp_path / "enclave") as worker, serve_gateway(worker) as served:
        ready = await result(served.port)
        assert (ready.outcome, "1 ready" in ready.seen) == (Outcome.OK, True)
    async with serve_gateway() as served:
        idle = await result(served.port)
        assert (idle.outcome, "no enclave is known" in idle.seen) == (Outcome.FAILED, True)


@pytest.fixture
def kms(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with served(Kms) as url:
        monkeypatch.setenv("AWS_ENDPOINT_URL_KMS", url)
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "example")
        monkeypatch.setenv("AWS_CONFIG_FILE", "/dev/null")
        yield


@pytest.mark.usefixtures("kms")
def test_a_key_s_policy_is_read_or_the_reason_given() -> None:
    machine = ThisMachine()
    assert machine.key_policy(at.KEY, at.REGION) == "the policy"
    with pytest.raises(PolicyHidden):
        machine.key_policy(at.KEY.rpartition("/")[0] + "/hidden", at.REGION)
    with pytest.raises(PolicyUnreadable, match="NotFoundException"):
        machine.key_policy(at.KEY.rpartition("/")[0] + "/absent", at.REGION)


def test_a_kms_that_is_not_reached_is_no_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_KMS", "http://127.0.0.1:1")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "example")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/dev/null")
    with pytest.raises(PolicyUnreadable, match="EndpointConnectionError"):
        ThisMachine().key_policy(at.KEY, at.REGION)
