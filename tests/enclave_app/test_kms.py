"""The KMS client against a KMS that lies, stalls and breaks."""

from __future__ import annotations

import base64
import json
import logging
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import cbor2
import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials as BotocoreCredentials
from hypothesis import given, settings
from hypothesis import strategies as st

from blindgate.attestation.user_data import KMS_USER_DATA
from blindgate.link import UnixAddress
from blindgate.link.dial import dial, listen
from enclave_app.kms import client as kms_module
from enclave_app.kms import transport as kms_transport
from enclave_app.kms.client import KmsClient, KmsSettings
from enclave_app.kms.credentials import CredentialStore
from enclave_app.kms.errors import (
    KmsAnswerRejected,
    KmsClockSkew,
    KmsError,
    KmsRefused,
    KmsUnavailable,
    KmsUntrusted,
)
from enclave_app.kms.recipient_keys import RecipientKeys, generate
from enclave_app.kms.transport import Reply
from tests.enclave_app import cms_building
from tests.enclave_app.kms_faking import (
    CONTEXT,
    DATA_KEY,
    HOST,
    KEY_ARN,
    OTHER_ARN,
    Answer,
    Ca,
    FakeKms,
    FakeNsm,
    Request,
    error,
    fake_kms,
    good,
)

CA = Ca()
KEY = generate()
BLOB = b"wrapped data key"
REQUEST_ID = "0f0e0d0c-1234-5678-9abc-def012345678"


def pushed(**changes: object) -> bytes:
    return cbor2.dumps(
        {
            "access_key_id": "ASIAEXAMPLEEXAMPLE",
            "secret_access_key": "SECRETaccessKEY",
            "session_token": "SESSIONtoken",
            "expires": None,
            **changes,
        }
    )


@pytest.fixture
def credentials() -> CredentialStore:
    store = CredentialStore()
    store.replace(pushed())
    return store


@pytest.fixture
def server(tmp_path: Path) -> Iterator[FakeKms]:
    with fake_kms(tmp_path, CA.serve_as(tmp_path)) as server:
        yield server


class Sleeps(list[float]):
    """Instead of sleeping."""

    def __call__(self, seconds: float) -> None:
        self.append(seconds)


@pytest.fixture
def make(tmp_path: Path, credentials: CredentialStore) -> Iterator[Callable[..., KmsClient]]:
    made: list[KmsClient] = []

    def make(address: UnixAddress, **changes: Any) -> KmsClient:
        bundle = tmp_path / "ca.pem"
        bundle.write_bytes(changes.pop("ca", CA.pem))
        settings = KmsSettings((KEY_ARN, OTHER_ARN), {"us-east-1": HOST}, address, bundle)
        options: dict[str, Any] = {
            "sleep": Sleeps(),
            "jitter": lambda: 1.0,
            "keys": RecipientKeys(lambda: KEY),
            **changes,
        }
        client = KmsClient(
            settings, options.pop("nsm", FakeNsm()), options.pop("store", credentials), **options
        )
        made.append(client)
        return client

    yield make
    for client in made:
        client.close()


@pytest.fixture
def client(server: FakeKms, make: Callable[..., KmsClient]) -> KmsClient:
    return make(server.address)


def test_an_attested_decrypt_gives_the_data_key(client: KmsClient, server: FakeKms) -> None:
    released = client.unwrap(BLOB, CONTEXT, KEY_ARN)
    assert (released.plaintext, released.request_ids) == (DATA_KEY, (REQUEST_ID,))
    assert DATA_KEY.hex() not in repr(released)
    assert repr(DATA_KEY) not in repr(released)
    (request,) = server.requests
    assert base64.b64decode(request.body["CiphertextBlob"]) == BLOB
    assert request.body["KeyId"] == KEY_ARN
    assert request.body["EncryptionContext"] == CONTEXT
    assert request.body["Recipient"]["KeyEncryptionAlgorithm"] == "RSAES_OAEP_SHA_256"
    assert request.headers["host"] == HOST
    assert request.headers["x-amz-target"] == "TrentService.Decrypt"
    assert request.headers["x-amz-security-token"] == "SESSIONtoken"


def test_the_document_shown_to_kms_binds_the_key_and_its_purpose(
    client: KmsClient, server: FakeKms
) -> None:
    client.unwrap(BLOB, CONTEXT, KEY_ARN)
    document = server.requests[0].document
    assert document["public_key"] == KEY.spki
    assert document["user_data"] == KMS_USER_DATA
    assert cbor2.loads(KMS_USER_DATA) == {"purpose": "blindgate/kms/v1"}


def test_every_call_shows_a_fresh_document(client: KmsClient, server: FakeKms) -> None:
    for _ in range(3):
        client.unwrap(BLOB, CONTEXT, KEY_ARN)
    assert len({request.document["number"] for request in server.requests}) == 3


def test_the_signature_is_sigv4(client: KmsClient, server: FakeKms) -> None:
    client.unwrap(BLOB, CONTEXT, KEY_ARN)
    (request,) = server.requests
    signed = AWSRequest(
        method="POST",
        url=f"https://{HOST}/",
        headers={
            "content-type": request.headers["content-type"],
            "x-amz-target": request.headers["x-amz-target"],
        },
        data=b"",
    )
    signed.context["timestamp"] = request.headers["x-amz-date"]
    signed.headers["X-Amz-Date"] = request.headers["x-amz-date"]
    signed.headers["X-Amz-Security-Token"] = "SESSIONtoken"
    signed.data = json.dumps(request.body).encode()
    auth = SigV4Auth(
        BotocoreCredentials("ASIAEXAMPLEEXAMPLE", "SECRETaccessKEY", "SESSIONtoken"),
        "kms",
        "us-east-1",
    )
    signature = auth.signature(auth.string_to_sign(signed, auth.canonical_request(signed)), signed)
    assert request.headers["authorization"].endswith(f"Signature={signature}")
    assert "/us-east-1/kms/aws4_request" in request.headers["authorization"]


def test_without_an_encryption_context_none_is_sent(client: KmsClient, server: FakeKms) -> None:
    client.unwrap(BLOB, {}, KEY_ARN)
    assert "EncryptionContext" not in server.requests[0].body


@pytest.mark.parametrize(
    ("blob", "arn"), [(BLOB, KEY_ARN + "0"), (b"", KEY_ARN), (b"x" * 6145, KEY_ARN)]
)
def test_what_may_not_be_asked_is_not_asked(
    client: KmsClient, server: FakeKms, blob: bytes, arn: str
) -> None:
    with pytest.raises(ValueError, match=r"pinned|long"):
        client.unwrap(blob, CONTEXT, arn)
    assert server.requests == []


# Who is at the other end --------------------------------------------------------------------


def test_another_ca_is_not_trusted(
    server: FakeKms, make: Callable[..., KmsClient], credentials: CredentialStore
) -> None:
    client = make(server.address, ca=Ca("Another CA").pem)
    with pytest.raises(KmsUntrusted):
        client.unwrap(BLOB, CONTEXT, KEY_ARN)
    assert server.requests == [], "nothing may be sent to whom the bundle does not name"
    assert server.connections == 1, "a second attempt would change nothing"


def test_the_systems_roots_count_for_nothing(
    server: FakeKms,
    make: Callable[..., KmsClient],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "system.pem").write_bytes(CA.pem)
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "system.pem"))
    with pytest.raises(KmsUntrusted):
        make(server.address, ca=Ca("Another CA").pem).unwrap(BLOB, CONTEXT, KEY_ARN)


CALL = """
import sys
from pathlib import Path
from blindgate.link import UnixAddress
from enclave_app.kms.credentials import CredentialStore
from enclave_app.kms.client import KmsClient, KmsSettings
from tests.enclave_app.kms_faking import CONTEXT, HOST, KEY_ARN, FakeNsm
store = CredentialStore()
store.replace(bytes.fromhex(sys.argv[3]))
settings = KmsSettings(
    (KEY_ARN,), {"us-east-1": HOST}, UnixAddress(sys.argv[1]), Path(sys.argv[2])
)
client = KmsClient(settings, FakeNsm(), store)
print(client.unwrap(b"wrapped data key", CONTEXT, KEY_ARN).plaintext.hex())
client.close()
"""


def test_a_hostile_environment_changes_nothing_about_a_call(
    server: FakeKms, tmp_path: Path
) -> None:
    """The image's init passes none of it on; the worker does not depend on that."""
    (tmp_path / "evil.pem").write_bytes(Ca("Evil CA").pem)
    (tmp_path / "aws").write_text("[default]\naws_access_key_id = EVIL\n")
    (tmp_path / "ca.pem").write_bytes(CA.pem)
    proxies = ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy", "HTTP_PROXY")
    hostile = {
        **dict.fromkeys(proxies, "http://127.0.0.1:9"),
        "SSLKEYLOGFILE": str(tmp_path / "session-keys"),
        "SSL_CERT_FILE": str(tmp_path / "evil.pem"),
        "SSL_CERT_DIR": str(tmp_path),
        "REQUESTS_CA_BUNDLE": str(tmp_path / "evil.pem"),
        "CURL_CA_BUNDLE": str(tmp_path / "evil.pem"),
        "AWS_CA_BUNDLE": str(tmp_path / "evil.pem"),
        "AWS_ENDPOINT_URL": "http://127.0.0.1:9",
        "AWS_ENDPOINT_URL_KMS": "http://127.0.0.1:9",
        "AWS_ACCESS_KEY_ID": "EVIL",
        "AWS_SECRET_ACCESS_KEY": "EVIL",
        "AWS_SESSION_TOKEN": "EVIL",
        "AWS_REGION": "eu-evil-1",
        "AWS_DEFAULT_REGION": "eu-evil-1",
        "AWS_CONFIG_FILE": str(tmp_path / "aws"),
        "AWS_SHARED_CREDENTIALS_FILE": str(tmp_path / "aws"),
        "OMP_NUM_THREADS": "999",
        "ORT_DISABLE_TELEMETRY": "0",
    }
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run(
        [
            sys.executable, "-c", CALL,
            server.address.path, tmp_path / "ca.pem", pushed().hex(),
        ],
        env={"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), **hostile},
        cwd=root,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (0, DATA_KEY.hex() + "\n"), done.stderr
    (request,) = server.requests
    assert request.headers["host"] == HOST
    assert request.headers["x-amz-security-token"] == "SESSIONtoken"
    assert "ASIAEXAMPLEEXAMPLE" in request.headers["authorization"]
    assert "/us-east-1/kms/" in request.headers["authorization"]
    assert not (tmp_path / "session-keys").exists()


def test_session_keys_are_never_written_out(
    server: FakeKms,
    make: Callable[..., KmsClient],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SSLKEYLOGFILE", str(tmp_path / "keys"))
    make(server.address).unwrap(BLOB, CONTEXT, KEY_ARN)
    assert not (tmp_path / "keys").exists()


@pytest.mark.parametrize(
    ("host", "expired"), [("kms.eu-west-1.amazonaws.com", False), (HOST, True)]
)
def test_a_wrong_name_or_an_expired_certificate_is_not_trusted(
    make: Callable[..., KmsClient], tmp_path: Path, host: str, expired: bool
) -> None:
    tls = CA.serve_as(tmp_path, host, expired=expired)
    with fake_kms(tmp_path, tls) as server:
        with pytest.raises(KmsUntrusted):
            make(server.address).unwrap(BLOB, CONTEXT, KEY_ARN)
        assert server.requests == []


def test_a_peer_without_tls_gets_nothing(make: Callable[..., KmsClient], tmp_path: Path) -> None:
    heard: list[bytes] = []
    address = UnixAddress(str(tmp_path / "plain.sock"))
    listener = listen(address)

    def serve() -> None:
        for _ in range(kms_module.MAX_ATTEMPTS):
            sock, _ = listener.accept()
            with sock:
                heard.append(sock.recv(65536))
                sock.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}")

    thread = threading.Thread(target=serve)
    thread.start()
    with pytest.raises(KmsUnavailable):
        make(address).unwrap(BLOB, CONTEXT, KEY_ARN)
    thread.join()
    listener.close()
    assert len(heard) == kms_module.MAX_ATTEMPTS
    assert all(data.startswith(b"\x16\x03") for data in heard), "only ClientHellos"


def test_tls_1_1_is_not_spoken() -> None:
    context = kms_transport.tls_context(CA.pem.decode())
    assert context.minimum_version >= ssl.TLSVersion.TLSv1_2
    assert context.check_hostname
    assert context.verify_mode == ssl.CERT_REQUIRED
    assert len(context.get_ca_certs()) == 1


# What the answer says ------------------------------------------------------------------------


def dumped(value: Any) -> bytes:
    """An answer whose members are anything."""
    members = {"KeyId": KEY_ARN, "CiphertextForRecipient": value, "__type": value}
    return json.dumps(members).encode()


def _wrapped(request: Request, **changes: Any) -> Answer:
    blob = cms_building.enveloped(request.recipient, DATA_KEY, **changes)
    return good(request, CiphertextForRecipient=base64.b64encode(blob).decode())


def _decorated(request: Request, character: str) -> Answer:
    """Right base64, but for one character that a lenient reader would skip."""
    body = good(request).body
    assert isinstance(body, dict)
    text = body["CiphertextForRecipient"]
    return good(request, CiphertextForRecipient=text[:40] + character + text[40:])


def _for_another_key(request: Request) -> Answer:
    blob = cms_building.enveloped(generate().private.public_key(), DATA_KEY)
    return good(request, CiphertextForRecipient=base64.b64encode(blob).decode())


@pytest.mark.parametrize(
    "behaviour",
    [
        pytest.param(_for_another_key, id="for another recipient"),
        pytest.param(lambda r: _wrapped(r, recipients=2), id="two recipients"),
        pytest.param(lambda r: _wrapped(r, sha1=True), id="OAEP with SHA-1"),
        pytest.param(lambda r: good(r, KeyId=OTHER_ARN), id="KeyId swapped"),
        pytest.param(lambda r: good(r, KeyId="alias/blindgate"), id="KeyId an alias"),
        pytest.param(
            lambda r: good(r, Plaintext=base64.b64encode(DATA_KEY).decode()), id="a plaintext"
        ),
        pytest.param(
            lambda r: good(r, Plaintext="eA==", CiphertextForRecipient=None), id="only a plaintext"
        ),
        pytest.param(lambda r: good(r, CiphertextForRecipient=None), id="nothing for us"),
        pytest.param(lambda r: good(r, CiphertextForRecipient="!"), id="no base64"),
        pytest.param(lambda r: _decorated(r, "\n"), id="base64 with a line end"),
        pytest.param(lambda r: _decorated(r, "*"), id="base64 with another character"),
        pytest.param(lambda r: good(r, CiphertextForRecipient="\u00e9"), id="beyond ASCII"),
        pytest.param(lambda _: Answer(body=b"[" * 10_000), id="JSON without end"),
        pytest.param(lambda _: Answer(body=b"[]"), id="no object"),
        pytest.param(lambda _: Answer(body=b"\xff"), id="no text"),
        pytest.param(lambda _: Answer(body=b"x" * 20_000), id="huge answer"),
        pytest.param(lambda r: Answer(302, {}, {"location": "https://a.b/"}), id="a redirect"),
    ],
)
def test_an_answer_that_breaks_a_rule_is_not_used(
    client: KmsClient, server: FakeKms, behaviour: Callable[[Request], Answer]
) -> None:
    server.behaviours = [behaviour]
    with pytest.raises(KmsAnswerRejected) as caught:
        client.unwrap(BLOB, CONTEXT, KEY_ARN)
    assert str(caught.value) == "KMS's answer cannot be used"
    assert caught.value.__cause__ is None
    assert len(server.requests) == 1
    assert client.unwrap(BLOB, CONTEXT, KEY_ARN).plaintext == DATA_KEY, "the client goes on working"
    assert len(server.requests) == 2, "without another attempt"


def test_a_connection_with_the_rest_of_an_answer_in_it_is_not_used_again(
    client: KmsClient, server: FakeKms
) -> None:
    server.behaviours = [lambda _: Answer(body=b"x" * 2_000_000)]
    with pytest.raises(KmsAnswerRejected):
        client.unwrap(BLOB, CONTEXT, KEY_ARN)
    assert client.unwrap(BLOB, CONTEXT, KEY_ARN).plaintext == DATA_KEY
    assert (server.connections, len(server.requests)) == (2, 2)


@pytest.mark.parametrize(("length", "taken"), [(16_384, True), (16_385, False)])
def test_an_answer_has_16_kib_at_most(server: FakeKms, length: int, taken: bool) -> None:
    transport = kms_transport.KmsTransport(
        HOST, CA.pem.decode(), lambda timeout: dial(server.address, timeout)
    )
    server.behaviours = [lambda _: Answer(body=b"x" * length)]
    with nullcontext() if taken else pytest.raises(KmsAnswerRejected):
        reply = transport.post({"content-type": "application/x-amz-json-1.1"}, b"{}", 5)
        assert (reply.status, len(reply.body)) == (200, length)
    transport.close()


@pytest.mark.parametrize(
    ("sent", "noted"),
    [("a" * 64, "a" * 64), ("a" * 65, None), ("", None), ("two words", None), ("a\tb", None)],
)
def test_a_request_id_of_another_form_is_not_passed_on(
    client: KmsClient, server: FakeKms, sent: str, noted: str | None
) -> None:
    def answer(request: Request) -> Answer:
        answer = good(request)
        answer.headers["x-amzn-RequestId"] = sent
        return answer

    server.behaviours = [answer]
    assert client.unwrap(BLOB, CONTEXT, KEY_ARN).request_ids == ((noted,) if noted else ())


@given(st.binary(max_size=100) | st.recursive(st.none() | st.text(), st.lists).map(dumped))
@settings(max_examples=100)
def test_any_body_of_an_answer_gives_the_typed_error(body: bytes) -> None:
    with pytest.raises(KmsAnswerRejected):
        kms_module._data_key(Reply(200, body, None), KEY, KEY_ARN)
    assert all(isinstance(part, str) for part in kms_module._error_of(body))


@pytest.mark.parametrize("plaintext", [None, ""])
def test_the_two_ways_of_saying_no_plaintext_are_taken(
    client: KmsClient, server: FakeKms, plaintext: str | None
) -> None:
    server.behaviours = [lambda r: good(r, Plaintext=plaintext)]
    assert client.unwrap(BLOB, CONTEXT, KEY_ARN).plaintext == DATA_KEY


# When KMS says no, or later ---------------------------------------------------------------------


@pytest.mark.parametrize(
    "kind",
    [
        "AccessDeniedException",
        "InvalidCiphertextException",
        "IncorrectKeyException",
        "DisabledException",
        "com.amazonaws.kms#NotFoundException",
        "ValidationException",
        "SomethingNew",
        "",
    ],
)
def test_every_other_4xx_is_a_refusal_without_its_reason(
    client: KmsClient, server: FakeKms, kind: str
) -> None:
    server.behaviours = [lambda _: error(kind)]
    with pytest.raises(KmsRefused) as caught:
        client.unwrap(BLOB, CONTEXT, KEY_ARN)
    assert str(caught.value) == "KMS refused"
    assert vars(caught.value) == {"request_ids": (REQUEST_ID,)}
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    "later",
    [
        error("ThrottlingException"),
        error("com.amazonaws.kms#ThrottlingException"),
        error("Whatever", 429),
        error("KMSInternalException", 500),
        error("DependencyTimeoutException", 503),
        Answer(502, b"<html>"),
    ],
)
def test_throttling_and_5xx_are_tried_again_with_growing_pauses(
    server: FakeKms, make: Callable[..., KmsClient], later: Answer
) -> None:
    sleeps = Sleeps()
    server.behaviours = [lambda _: later, lambda _: later]
    assert make(server.address, sleep=sleeps).unwrap(BLOB, CONTEXT, KEY_ARN).plaintext == DATA_KEY
    assert sleeps == [0.05, 0.1]
    assert len({request.document["number"] for request in server.requests}) == 3


def test_the_pauses_are_full_jitter(server: FakeKms, make: Callable[..., KmsClient]) -> None:
    sleeps = Sleeps()
    server.behaviours = [lambda _: error("ThrottlingException")] * 3
    make(server.address, sleep=sleeps, jitter=iter([0.0, 0.5, 0.25]).__next__).unwrap(
        BLOB, CONTEXT, KEY_ARN
    )
    assert sleeps == [0.0, 0.05, 0.05]


def test_after_the_last_attempt_kms_is_unavailable(client: KmsClient, server: FakeKms) -> None:
    server.behaviours = [lambda _: error("ThrottlingException")] * 10
    with pytest.raises(KmsUnavailable) as caught:
        client.unwrap(BLOB, CONTEXT, KEY_ARN)
    assert len(server.requests) == 4
    assert caught.value.request_ids == (REQUEST_ID,) * 4
    assert not isinstance(caught.value, KmsAnswerRejected)


@pytest.mark.parametrize(
    ("timeout", "requests"), [(1000.0, 3), (8.0, 3), (6.5, 3), (5.9, 2), (0.0, 0), (-1.0, 0)]
)
def test_a_call_takes_eight_seconds_at_most_and_no_longer_than_its_caller_waits(
    server: FakeKms, make: Callable[..., KmsClient], timeout: float, requests: int
) -> None:
    now = [100.0]

    def slowly(_: Request) -> Answer:
        now[0] += 3.0
        return error("ThrottlingException")

    server.behaviours = [slowly] * 4
    client = make(server.address, clock=lambda: now[0])
    with pytest.raises(KmsUnavailable):
        client.unwrap(BLOB, CONTEXT, KEY_ARN, timeout=timeout)
    assert len(server.requests) == requests


def test_a_retry_that_would_end_too_late_is_not_begun(
    server: FakeKms, make: Callable[..., KmsClient]
) -> None:
    sleeps, now = Sleeps(), [0.0]

    def slowly(_: Request) -> Answer:
        now[0] += 7.97
        return error("ThrottlingException")

    server.behaviours = [slowly]
    with pytest.raises(KmsUnavailable):
        make(server.address, clock=lambda: now[0], sleep=sleeps).unwrap(BLOB, CONTEXT, KEY_ARN)
    assert sleeps == []
    assert len(server.requests) == 1


def test_a_silent_kms_is_given_up_in_time(client: KmsClient, server: FakeKms) -> None:
    server.behaviours = [lambda _: Answer(stall=0.3, close=True)]
    with pytest.raises(KmsUnavailable):
        client.unwrap(BLOB, CONTEXT, KEY_ARN, timeout=0.1)
    assert client.unwrap(BLOB, CONTEXT, KEY_ARN).plaintext == DATA_KEY


def test_an_answer_cut_short_is_tried_again(client: KmsClient, server: FakeKms) -> None:
    server.behaviours = [lambda _: Answer(headers={"content-length": "100"}, close=True)]
    assert client.unwrap(BLOB, CONTEXT, KEY_ARN).plaintext == DATA_KEY


def test_no_way_out_is_unavailable(make: Callable[..., KmsClient], tmp_path: Path) -> None:
    sleeps = Sleeps()
    client = make(UnixAddress(str(tmp_path / "nobody.sock")), sleep=sleeps)
    with pytest.raises(KmsUnavailable) as caught:
        client.unwrap(BLOB, CONTEXT, KEY_ARN)
    assert caught.value.request_ids == ()
    assert len(sleeps) == kms_module.MAX_ATTEMPTS - 1


# The clock -----------------------------------------------------------------------------------

BEHIND = (
    "Signature expired: 20261128T100000Z is now earlier than 20261128T100200Z "
    "(20261128T100700Z - 5 min.)"
)
AHEAD = (
    "Signature not yet current: 20261128T101000Z is still later than 20261128T100500Z "
    "(20261128T100000Z + 5 min.)"
)


@pytest.mark.parametrize(
    ("kind", "message", "state", "logged"),
    [
        ("InvalidSignatureException", BEHIND, "behind", "behind KMS's by 420 s"),
        ("com.amazonaws#SignatureDoesNotMatch", AHEAD, "ahead", "ahead of KMS's by 600 s"),
        ("InvalidSignatureException", "Signature expired: today", "behind", "an unknown amount"),
        (
            "InvalidSignatureException",
            BEHIND.replace("20261128T100700Z", "20269999T999999Z"),
            "behind",
            "an unknown amount",
        ),
        ("RequestExpired", "", "skewed", "different from KMS"),
        ("RequestTimeTooSkewed", "too large", "skewed", "different from KMS"),
        ("RequestInTheFuture", "", "ahead", "ahead of KMS's"),
    ],
)
def test_a_refused_clock_is_not_a_refusal_by_policy(
    client: KmsClient,
    server: FakeKms,
    caplog: pytest.LogCaptureFixture,
    kind: str,
    message: str,
    state: str,
    logged: str,
) -> None:
    server.behaviours = [lambda _: error(kind, message=message)]
    assert client.clock_state == "unknown"
    with pytest.raises(KmsClockSkew) as caught:
        client.unwrap(BLOB, CONTEXT, KEY_ARN)
    assert vars(caught.value) == {"request_ids": (REQUEST_ID,)}
    assert client.clock_state == state
    assert len(server.requests) == 1, "the same clock would be refused again"
    (record,) = caplog.records
    assert logged in record.getMessage()
    assert REQUEST_ID in record.getMessage()
    client.unwrap(BLOB, CONTEXT, KEY_ARN)
    assert client.clock_state == "ok"


@pytest.mark.parametrize(
    ("kind", "message", "status"),
    [
        ("AccessDeniedException", BEHIND, 400),
        ("InvalidSignatureException", "The request signature we calculated does not match", 400),
        ("IncompleteSignatureException", BEHIND, 400),
        ("ValidationException", "Signature expired", 400),
        ("InvalidSignatureException", BEHIND, 500),
    ],
)
def test_other_failures_say_nothing_about_the_clock(
    client: KmsClient, server: FakeKms, kind: str, message: str, status: int
) -> None:
    server.behaviours = [lambda _: error(kind, status, message)] * kms_module.MAX_ATTEMPTS
    with pytest.raises(KmsError) as caught:
        client.unwrap(BLOB, CONTEXT, KEY_ARN)
    assert not isinstance(caught.value, KmsClockSkew)
    assert client.clock_state in ("unknown", "ok")


def test_a_refusal_by_policy_shows_that_the_clock_is_right_again(
    client: KmsClient, server: FakeKms
) -> None:
    server.behaviours = [
        lambda _: error("InvalidSignatureException", message=AHEAD),
        lambda _: error("ValidationException"),
    ]
    with pytest.raises(KmsClockSkew):
        client.unwrap(BLOB, CONTEXT, KEY_ARN)
    with pytest.raises(KmsRefused):
        client.unwrap(BLOB, CONTEXT, KEY_ARN)
    assert client.clock_state == "ahead", "a malformed request is refused before its signature"
    server.behaviours = [lambda _: error("AccessDeniedException")]
    with pytest.raises(KmsRefused):
        client.unwrap(BLOB, CONTEXT, KEY_ARN)
    assert client.clock_state == "ok"


def test_each_kind_of_failure_is_logged_once_a_minute(
    server: FakeKms, make: Callable[..., KmsClient], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "blindgate.worker")
    now = [0.0]
    client = make(server.address, clock=lambda: now[0])

    def fail(kind: str, message: str = "") -> None:
        server.behaviours = [lambda _: error(kind, message=message)]
        with pytest.raises(KmsError):
            client.unwrap(BLOB, CONTEXT, KEY_ARN)

    fail("AccessDeniedException")
    fail("InvalidSignatureException", BEHIND)
    fail("IncorrectKeyException", BEHIND)
    kinds = [record.getMessage().partition(" (")[0] for record in caplog.records]
    assert len(kinds) == 3
    assert kinds[0] == "KMS refused to release a data key"
    assert kinds[1].startswith("KMS refuses this enclave's clock")
    assert kinds[2] == "KMS accepts this enclave's clock again"
    now[0] = 59.0
    fail("AccessDeniedException")
    assert len(caplog.records) == 3
    now[0] = 61.0
    fail("AccessDeniedException")
    assert len(caplog.records) == 4


# Credentials ---------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["ExpiredTokenException", "UnrecognizedClientException"])
def test_expired_credentials_are_replaced_once(
    client: KmsClient, server: FakeKms, credentials: CredentialStore, kind: str
) -> None:
    def push_others(_: Request) -> Answer:
        credentials.replace(pushed(session_token="NEWERtoken"))
        return error(kind)

    server.behaviours = [push_others]
    assert client.unwrap(BLOB, CONTEXT, KEY_ARN).plaintext == DATA_KEY
    tokens = [request.headers["x-amz-security-token"] for request in server.requests]
    assert tokens == ["SESSIONtoken", "NEWERtoken"]
    assert not credentials.are_due


def test_expired_credentials_make_the_worker_ask_for_others(
    client: KmsClient,
    server: FakeKms,
    credentials: CredentialStore,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(kms_module, "CREDENTIALS_SECONDS", 0.01)
    server.behaviours = [lambda _: error("ExpiredTokenException")]
    with pytest.raises(KmsUnavailable):
        client.unwrap(BLOB, CONTEXT, KEY_ARN)
    assert credentials.are_due
    assert len(server.requests) == 1


def test_credentials_that_stay_expired_end_the_call(
    client: KmsClient, server: FakeKms, credentials: CredentialStore
) -> None:
    def push_others(_: Request) -> Answer:
        credentials.replace(pushed())
        return error("ExpiredTokenException")

    server.behaviours = [push_others] * 5
    with pytest.raises(KmsUnavailable):
        client.unwrap(BLOB, CONTEXT, KEY_ARN)
    assert len(server.requests) == 2


def test_without_credentials_a_call_waits_for_them(
    server: FakeKms, make: Callable[..., KmsClient]
) -> None:
    store = CredentialStore()
    client = make(server.address, store=store)
    waiting = threading.Event()
    original = store.wait_newer

    def wait_newer(than: Any, timeout: float) -> Any:
        waiting.set()
        return original(than, timeout)

    store.wait_newer = wait_newer  # type: ignore[method-assign]
    with ThreadPoolExecutor(1) as pool:
        call = pool.submit(client.unwrap, BLOB, CONTEXT, KEY_ARN)
        assert waiting.wait(10)
        assert server.connections == 0
        store.replace(pushed())
        assert call.result(10).plaintext == DATA_KEY


class NeverPushed(CredentialStore):
    """Credentials that do not come, and how long a call would have waited for them."""

    def __init__(self) -> None:
        super().__init__()
        self.waited: list[float] = []

    def wait_newer(self, than: Any, timeout: float) -> None:
        self.waited.append(timeout)


@pytest.mark.parametrize(
    ("timeout", "waited"), [(1000.0, 3.0), (8.0, 3.0), (3.0, 3.0), (1.5, 1.5), (-1.0, 0.0)]
)
def test_a_call_waits_three_seconds_for_credentials_at_most(
    server: FakeKms, make: Callable[..., KmsClient], timeout: float, waited: float
) -> None:
    store = NeverPushed()
    client = make(server.address, store=store, clock=lambda: 0.0)
    with pytest.raises(KmsUnavailable):
        client.unwrap(BLOB, CONTEXT, KEY_ARN, timeout=timeout)
    assert store.waited == [waited]
    assert server.connections == 0


# Connections ---------------------------------------------------------------------------------


def test_one_connection_serves_many_calls(client: KmsClient, server: FakeKms) -> None:
    for _ in range(20):
        client.unwrap(BLOB, CONTEXT, KEY_ARN)
    assert (server.connections, client.handshakes) == (1, 1)


def test_closing_the_client_closes_its_connections(client: KmsClient, server: FakeKms) -> None:
    client.unwrap(BLOB, CONTEXT, KEY_ARN)
    assert len(server._open) == 1
    client.close()
    ends = time.monotonic() + 10
    while server._open:
        assert time.monotonic() < ends
        time.sleep(0.005)


def test_errors_do_not_cost_the_connection(client: KmsClient, server: FakeKms) -> None:
    server.behaviours = [lambda _: error("AccessDeniedException")]
    with pytest.raises(KmsRefused):
        client.unwrap(BLOB, CONTEXT, KEY_ARN)
    client.unwrap(BLOB, CONTEXT, KEY_ARN)
    assert server.connections == 1


def test_a_kept_connection_that_died_is_replaced(client: KmsClient, server: FakeKms) -> None:
    client.unwrap(BLOB, CONTEXT, KEY_ARN)
    server.hang_up()
    assert client.unwrap(BLOB, CONTEXT, KEY_ARN).plaintext == DATA_KEY
    assert server.connections == 2


def test_connections_are_few_whatever_the_callers(
    server: FakeKms, make: Callable[..., KmsClient]
) -> None:
    client = make(server.address)
    with ThreadPoolExecutor(24) as pool:
        answers = list(
            pool.map(lambda _: client.unwrap(BLOB, CONTEXT, KEY_ARN), range(48), timeout=30)
        )
    assert [each.plaintext for each in answers] == [DATA_KEY] * 48
    assert server.connections <= kms_transport.MAX_CONNECTIONS


class Transport:
    """A transport of its own to the server, on a clock of the test's."""

    def __init__(self, server: FakeKms) -> None:
        self.now = 1000.0
        self.transport = kms_transport.KmsTransport(
            HOST, CA.pem.decode(), lambda timeout: dial(server.address, timeout), lambda: self.now
        )

    def post(self) -> Reply:
        return self.transport.post({"content-type": "application/x-amz-json-1.1"}, b"{}", 5)


@pytest.fixture
def transport(server: FakeKms) -> Iterator[Transport]:
    server.behaviours = [lambda _: Answer()] * 100
    made = Transport(server)
    yield made
    made.transport.close()


def test_a_connection_is_given_up_after_30_idle_seconds(transport: Transport) -> None:
    handshakes = []
    for idle in (0.0, 29.9, 29.9, 30.0, 29.9, 31.0):
        transport.now += idle
        transport.transport.close_idle()
        transport.post()
        handshakes.append(transport.transport.handshakes)
    assert handshakes == [1, 1, 1, 2, 2, 3]


def test_after_a_failure_the_other_idle_connections_are_dialled_again(
    transport: Transport, server: FakeKms
) -> None:
    together = threading.Barrier(3)

    def meet(_: Request) -> Answer:
        together.wait(10)
        return Answer()

    def three_at_once() -> None:
        server.behaviours = [meet] * 3
        with ThreadPoolExecutor(3) as pool:
            for each in [pool.submit(transport.post) for _ in range(3)]:
                assert each.result(10).status == 200

    three_at_once()
    three_at_once()
    assert server.connections == 3
    server.behaviours = [lambda _: Answer(headers={"content-length": "100"}, close=True)]
    with pytest.raises(kms_transport.Unreached):
        transport.post()
    three_at_once()
    assert server.connections == 6


def test_the_transport_s_bounds() -> None:
    assert kms_transport.MAX_CONNECTIONS == 8
    assert kms_transport.CONNECT_SECONDS == 2.0
    assert kms_transport.READ_SECONDS == 3.0


def test_the_time_outs_of_an_exchange_are_two_and_three_seconds_at_most(
    make: Callable[..., KmsClient], server: FakeKms, monkeypatch: pytest.MonkeyPatch
) -> None:
    used: list[tuple[Any, Any]] = []
    original = kms_transport._Pool.urlopen

    def urlopen(pool: Any, *given: Any, **named: Any) -> Any:
        used.append((named["timeout"].connect_timeout, named["timeout"].read_timeout))
        return original(pool, *given, **named)

    monkeypatch.setattr(kms_transport._Pool, "urlopen", urlopen)
    client = make(server.address, clock=lambda: 0.0)
    for timeout in (1000.0, 2.5, 1.0):
        client.unwrap(BLOB, CONTEXT, KEY_ARN, timeout=timeout)
    assert used == [(2.0, 3.0), (2.0, 2.5), (1.0, 1.0)]


# Keys for answers -----------------------------------------------------------------------------


def test_a_spare_key_is_ready_when_the_current_one_is_worn() -> None:
    now = [0.0]
    made = []

    def make_key() -> Any:
        made.append(now[0])
        return object()

    keys = RecipientKeys(make_key, clock=lambda: now[0], max_age=100, max_uses=3)
    assert keys.needs_spare()
    keys.replenish()
    keys.replenish()
    assert len(made) == 2
    first = {keys.take() for _ in range(3)}
    second = keys.take()
    assert len(first) == 1
    assert second not in first
    assert len(made) == 2, "nothing is generated while a call waits"
    keys.replenish()
    now[0] = 100.0
    assert keys.take() is not second
    assert len(made) == 3


def test_a_key_serves_an_hour_and_ten_thousand_calls_at_most() -> None:
    now = [0.0]
    keys = RecipientKeys(object, clock=lambda: now[0])  # type: ignore[arg-type]
    first = keys.take()
    for _ in range(9_999):
        assert keys.take() is first
    second = keys.take()
    assert second is not first
    now[0] = 3599.9
    assert keys.take() is second
    now[0] = 3600.0
    assert keys.take() is not second


def test_a_key_is_one_that_kms_takes() -> None:
    numbers = KEY.private.public_key().public_numbers()
    assert (KEY.private.key_size, numbers.e, len(KEY.spki)) == (2048, 65_537, 294)


def test_upkeep_makes_the_spare_and_gives_up_idle_connections(
    server: FakeKms, make: Callable[..., KmsClient], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kms_module, "UPKEEP_SECONDS", 0.005)
    now = [1000.0]
    keys = RecipientKeys(lambda: KEY)
    client = make(server.address, clock=lambda: now[0], keys=keys)
    client.unwrap(BLOB, CONTEXT, KEY_ARN)
    ends = time.monotonic() + 10
    while keys.needs_spare():
        assert time.monotonic() < ends
        time.sleep(0.005)
    now[0] += 31
    while server._open:
        assert time.monotonic() < ends
        time.sleep(0.005)
    assert client.unwrap(BLOB, CONTEXT, KEY_ARN).plaintext == DATA_KEY
    assert client.handshakes == 2


def test_without_a_spare_a_worn_key_is_not_used_on() -> None:
    keys = RecipientKeys(object, max_uses=1)  # type: ignore[arg-type]
    assert keys.take() is not keys.take()


# Secrets --------------------------------------------------------------------------------------


def test_nothing_secret_is_logged(
    client: KmsClient, server: FakeKms, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    server.behaviours = [
        lambda _: error("ThrottlingException"),
        lambda _: error("AccessDeniedException"),
    ]
    with pytest.raises(KmsError):
        client.unwrap(BLOB, CONTEXT, KEY_ARN)
    client.unwrap(BLOB, CONTEXT, KEY_ARN)
    for secret in ("SECRETaccessKEY", "SESSIONtoken", DATA_KEY.hex(), "secret reason"):
        assert secret not in caplog.text
