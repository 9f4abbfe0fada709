"""From the provider chain, IMDSv2 first of all, to the enclave's memory."""

from __future__ import annotations

import asyncio
import inspect
import json
import logging
import os
import pickle
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import cbor2
import pytest

from enclave_app.kms.credentials import CredentialStore
from gateway.aws.credentials import CredentialPusher, NoCredentials, RoleCredentials, RoleSource


class Imds(ThreadingHTTPServer):
    """An instance metadata service: version 2 only, as AWS recommends to configure it."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _ImdsHandler)
        self.sets_given = 0
        self.lifetime = timedelta(hours=6)
        self.refused = 0
        self.down = False

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def credentials(self) -> dict[str, str]:
        self.sets_given += 1
        ends = datetime.now(UTC) + self.lifetime
        return {
            "Code": "Success",
            "Type": "AWS-HMAC",
            "LastUpdated": "2026-11-23T00:00:00Z",
            "AccessKeyId": f"ASIAIMDSEXAMPLE{self.sets_given:04}",
            "SecretAccessKey": f"imdsSECRET{self.sets_given}",
            "Token": f"imdsTOKEN{self.sets_given}",
            "Expiration": ends.strftime("%Y-%m-%dT%H:%M:%SZ"),
        }


class _ImdsHandler(BaseHTTPRequestHandler):
    server: Imds
    token = "imds-v2-session"
    roles = "/latest/meta-data/iam/security-credentials/"

    def do_PUT(self) -> None:
        right = self.path == "/latest/api/token"
        if right and self.headers["x-aws-ec2-metadata-token-ttl-seconds"]:
            self._answer(200, self.token)
        else:
            self._answer(400, "")

    def do_GET(self) -> None:
        if self.path == "/container":
            self._answer(200, json.dumps(self.server.credentials()))
        elif self.headers["x-aws-ec2-metadata-token"] != self.token:
            self.server.refused += 1
            self._answer(401, "")
        elif self.path == self.roles:
            self._answer(200, "blindgate-parent")
        elif self.path == self.roles + "blindgate-parent":
            self._answer(200, json.dumps(self.server.credentials()))
        else:
            self._answer(404, "")

    def _answer(self, status: int, text: str) -> None:
        self.send_response(503 if self.server.down else status)
        self.send_header("content-length", str(len(text)))
        self.send_header("x-aws-ec2-metadata-token-ttl-seconds", "21600")
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def imds() -> Iterator[Imds]:
    with Imds() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def _no_credentials_of_this_machine(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, imds: Imds
) -> None:
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", imds.url)
    monkeypatch.setenv("AWS_EC2_METADATA_V1_DISABLED", "true")


def fields(credentials: RoleCredentials) -> dict[str, Any]:
    decoded: dict[str, Any] = cbor2.loads(credentials.body)
    return decoded


# Reading -------------------------------------------------------------------------------------


def test_the_instances_role_is_read_with_imds_v2(imds: Imds) -> None:
    found = RoleSource().read()
    assert fields(found) == {
        "access_key_id": "ASIAIMDSEXAMPLE0001",
        "secret_access_key": "imdsSECRET1",
        "session_token": "imdsTOKEN1",
        "expires": found.expires,
    }
    assert found.expires is not None
    assert abs(found.expires - (datetime.now(UTC) + imds.lifetime).timestamp()) < 5
    assert imds.refused == 0, "every request carried a session token"


def test_the_enclave_takes_what_the_gateway_reads() -> None:
    store = CredentialStore()
    store.replace(RoleSource().read().body)
    current = store.current()
    assert current is not None
    assert current.secret_access_key == "imdsSECRET1"
    assert not store.are_due


def test_reading_again_costs_no_request_until_they_end_soon(imds: Imds) -> None:
    source = RoleSource()
    assert source.read() == source.read() == source.read()
    assert imds.sets_given == 1


def test_credentials_that_end_soon_are_renewed(imds: Imds) -> None:
    imds.lifetime = timedelta(minutes=8)
    source = RoleSource()
    first = source.read()
    imds.lifetime = timedelta(hours=6)
    second = source.read()
    assert fields(first)["session_token"] != fields(second)["session_token"]
    assert second.expires is not None
    assert first.expires is not None
    assert second.expires > first.expires


@pytest.mark.parametrize(("minutes", "sets"), [(24, 3), (26, 1)])
def test_imds_is_asked_each_time_from_25_minutes_before_the_end(
    imds: Imds, minutes: int, sets: int
) -> None:
    imds.lifetime = timedelta(minutes=minutes)
    source = RoleSource()
    found = [source.read() for _ in range(3)]
    assert imds.sets_given == sets
    assert fields(found[-1])["session_token"] == f"imdsTOKEN{sets}"


def test_another_source_is_not_asked_more_often_than_botocore_does(
    monkeypatch: pytest.MonkeyPatch, imds: Imds
) -> None:
    monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", f"{imds.url}/container")
    imds.lifetime = timedelta(minutes=20)
    source = RoleSource()
    assert source.read() == source.read()
    assert imds.sets_given == 1


def test_the_chain_is_asked_each_half_minute_and_walked_again_after_ten_seconds() -> None:
    defaults = inspect.signature(CredentialPusher).parameters
    assert (defaults["poll"].default, defaults["reread"].default) == (30.0, 10.0)


def test_a_containers_role_is_read(monkeypatch: pytest.MonkeyPatch, imds: Imds) -> None:
    monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", f"{imds.url}/container")
    found = RoleSource().read()
    assert fields(found)["session_token"] == "imdsTOKEN1"
    assert found.expires is not None


def test_a_profile_is_read(tmp_path: Path) -> None:
    (tmp_path / "credentials").write_text(
        "[ops]\naws_access_key_id = AKIAPROFILEEXAMPLE\naws_secret_access_key = profileSECRET\n"
    )
    found = RoleSource("ops").read()
    assert fields(found) == {
        "access_key_id": "AKIAPROFILEEXAMPLE",
        "secret_access_key": "profileSECRET",
        "session_token": None,
        "expires": None,
    }
    CredentialStore().replace(found.body)


def test_the_environment_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAENVIRONMENT00")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "environmentSECRET")
    assert fields(RoleSource().read())["secret_access_key"] == "environmentSECRET"


def test_walking_the_chain_anew_finds_what_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAENVIRONMENT00")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "before")
    source = RoleSource()
    source.read()
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "after")
    assert fields(source.read())["secret_access_key"] == "before"
    assert fields(source.read(anew=True))["secret_access_key"] == "after"


def test_no_credentials_at_all_is_said(imds: Imds) -> None:
    imds.down = True
    with pytest.raises(NoCredentials):
        RoleSource().read()


def test_an_instance_without_a_role_has_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(_ImdsHandler, "roles", "/elsewhere/")
    with pytest.raises(NoCredentials, match="none in the environment"):
        RoleSource().read()


def test_a_broken_source_is_named_without_what_it_said(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAENVIRONMENT00")
    with pytest.raises(NoCredentials, match="PartialCredentialsError") as caught:
        RoleSource().read()
    assert "AKIA" not in str(caught.value)
    assert caught.value.__cause__ is None
    with pytest.raises(NoCredentials, match="ProfileNotFound"):
        RoleSource("missing").read()


# Pushing -------------------------------------------------------------------------------------


@dataclass
class Report:
    needs_credentials: bool
    kms_regions: tuple[str, ...] = ()


class Enclave:
    """A worker's credential store at the end of a link."""

    def __init__(self, name: str = "unix:///run/enclave-1") -> None:
        self.name = name
        self.pushes = 0
        self.store = CredentialStore()

    async def push(self, body: bytes) -> None:
        self.pushes += 1
        self.store.replace(body)

    def restart(self) -> None:
        self.store = CredentialStore()

    async def probe(self, pusher: CredentialPusher) -> None:
        await pusher.on_status(self.name, Report(self.store.are_due), self.push)

    @property
    def secret(self) -> str | None:
        current = self.store.current()
        return current.secret_access_key if current else None


def test_an_enclave_of_several_regions_is_told_its_own(caplog: pytest.LogCaptureFixture) -> None:
    several = ("us-east-1", "eu-west-1")
    bodies: list[dict[str, Any]] = []

    async def push(body: bytes) -> None:
        bodies.append(cbor2.loads(body))

    async def one(region: str | None, regions: tuple[str, ...]) -> None:
        pusher = CredentialPusher(Sets(), region=region)
        await pusher._refresh(anew=False)
        for _ in range(2):
            await pusher.on_status("unix:///one", Report(True, regions), push)

    asyncio.run(one("eu-west-1", several))
    assert [each["region"] for each in bodies] == ["eu-west-1"] * 2
    bodies.clear()
    # With one Region nothing needs to be said, and an older enclave would refuse it.
    for regions in ((), ("us-east-1",)):
        asyncio.run(one("eu-west-1", regions))
    assert [each.get("region") for each in bodies] == [None] * 4
    bodies.clear()
    caplog.clear()
    for region in (None, "eu-west-2"):
        asyncio.run(one(region, several))
    assert bodies == []
    said = [each.getMessage() for each in caplog.records if "it gets no credentials" in each.msg]
    assert said == [
        "the enclave's image names KMS keys in us-east-1, eu-west-1, and BLINDGATE_REGION is "
        f"{region}: it gets no credentials"
        for region in ("not set", "eu-west-2")
    ]


class Sets:
    """Numbered sets of credentials."""

    def __init__(self) -> None:
        self.number = 1
        self.reads: list[bool] = []
        self.failure: NoCredentials | None = None

    def read(self, *, anew: bool = False) -> RoleCredentials:
        self.reads.append(anew)
        if self.failure:
            raise self.failure
        body = {
            "access_key_id": "ASIAEXAMPLEEXAMPLE",
            "secret_access_key": f"SECRET{self.number}",
            "session_token": None,
            "expires": None,
        }
        return RoleCredentials(cbor2.dumps(body), None)


def with_pusher(
    sets: Sets | RoleSource, test: Callable[[CredentialPusher], Coroutine[Any, Any, None]]
) -> None:
    """Run a test beside a pusher that reads every few milliseconds."""

    async def main() -> None:
        pusher = CredentialPusher(sets, poll=0.02, reread=0.005)
        task = asyncio.create_task(pusher.run())
        try:
            await asyncio.wait_for(test(pusher), 20)
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    asyncio.run(main())


async def until(enclave: Enclave, pusher: CredentialPusher, secret: str) -> None:
    while enclave.secret != secret:
        await enclave.probe(pusher)
        await asyncio.sleep(0.002)


def test_from_imds_into_the_enclave_and_ahead_of_expiry(imds: Imds) -> None:
    async def test(pusher: CredentialPusher) -> None:
        imds.lifetime = timedelta(minutes=8)
        enclave = Enclave()
        while enclave.secret is None:
            await enclave.probe(pusher)
            await asyncio.sleep(0.002)
        imds.lifetime = timedelta(hours=6)
        while lifetime_of(enclave) < timedelta(hours=5):
            await enclave.probe(pusher)
            await asyncio.sleep(0.002)
        assert not enclave.store.are_due

    with_pusher(RoleSource(), test)


def lifetime_of(enclave: Enclave) -> timedelta:
    current = enclave.store.current()
    assert current is not None
    assert current.expires is not None
    return datetime.fromtimestamp(current.expires, UTC) - datetime.now(UTC)


def test_a_restarted_enclave_is_supplied_at_its_first_status() -> None:
    async def test(pusher: CredentialPusher) -> None:
        enclave = Enclave()
        await until(enclave, pusher, "SECRET1")
        enclave.restart()
        await enclave.probe(pusher)
        assert enclave.secret == "SECRET1"

    with_pusher(Sets(), test)


def test_every_enclave_has_the_latest_and_has_it_once() -> None:
    sets = Sets()

    async def test(pusher: CredentialPusher) -> None:
        enclaves = [Enclave("one"), Enclave("two")]
        for number in (1, 2):
            sets.number = number
            for enclave in enclaves:
                await until(enclave, pusher, f"SECRET{number}")
        for enclave in enclaves * 5:
            await enclave.probe(pusher)
        assert [enclave.pushes for enclave in enclaves] == [2, 2]

    with_pusher(sets, test)


def test_credentials_that_kms_refused_make_the_chain_be_walked_anew() -> None:
    sets = Sets()

    async def test(pusher: CredentialPusher) -> None:
        enclave = Enclave()
        await until(enclave, pusher, "SECRET1")
        current = enclave.store.current()
        assert current is not None
        sets.reads.clear()
        enclave.store.refused(current)
        sets.number = 2
        await until(enclave, pusher, "SECRET2")
        assert True in sets.reads
        assert not enclave.store.are_due

    with_pusher(sets, test)


def test_a_source_that_comes_back_is_used(caplog: pytest.LogCaptureFixture) -> None:
    sets = Sets()
    sets.failure = NoCredentials("none")

    async def test(pusher: CredentialPusher) -> None:
        enclave = Enclave()
        for _ in range(20):
            await enclave.probe(pusher)
            await asyncio.sleep(0.002)
        assert enclave.pushes == 0
        sets.failure = None
        await until(enclave, pusher, "SECRET1")

    with_pusher(sets, test)
    assert [record.levelname for record in caplog.records].count("WARNING") == 1


def test_each_failure_of_a_source_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    sets = Sets()

    def warnings() -> int:
        return [record.levelname for record in caplog.records].count("WARNING")

    async def test(pusher: CredentialPusher) -> None:
        enclave = Enclave()
        for number in (1, 2):
            sets.failure = NoCredentials("none")
            sets.reads.clear()
            while len(sets.reads) < 3:
                await asyncio.sleep(0.002)
            assert warnings() == number
            sets.failure = None
            sets.number = number + 1
            await until(enclave, pusher, f"SECRET{number + 1}")

    with_pusher(sets, test)
    assert warnings() == 2


def test_a_push_that_fails_is_the_pools_to_handle_and_is_done_again() -> None:
    async def test(pusher: CredentialPusher) -> None:
        enclave = Enclave()

        async def fail(_: bytes) -> None:
            raise ConnectionResetError

        while not enclave.pushes:
            try:
                await pusher.on_status(enclave.name, Report(needs_credentials=True), fail)
            except ConnectionResetError:
                await enclave.probe(pusher)
            await asyncio.sleep(0.002)
        assert enclave.secret == "SECRET1"

    with_pusher(Sets(), test)


def test_nothing_is_kept_of_enclaves_that_left_or_of_older_credentials() -> None:
    sets = Sets()

    async def test(pusher: CredentialPusher) -> None:
        for number in range(50):
            enclave = Enclave(f"enclave-{number}")
            await until(enclave, pusher, "SECRET1")
        stays = Enclave("stays")
        await until(stays, pusher, "SECRET1")
        sets.number = 2
        pusher.retain(["stays", "another"])
        await until(stays, pusher, "SECRET2")
        kept = pickle.dumps([vars(pusher)["_pushed"], vars(pusher)["_latest"]])
        assert b"enclave-" not in kept
        assert b"SECRET1" not in kept
        await stays.probe(pusher)
        assert stays.pushes == 2, "who stays is not supplied again"
        back = Enclave("enclave-7")
        await back.probe(pusher)
        assert back.secret == "SECRET2", "who comes back is supplied like a new one"

    with_pusher(sets, test)


def test_nothing_shows_them(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    shown = []

    async def test(pusher: CredentialPusher) -> None:
        enclave = Enclave()
        await until(enclave, pusher, "imdsSECRET1")
        shown.append(f"{pusher!r} {RoleSource().read()!r}")

    with_pusher(RoleSource(), test)
    text = caplog.text + "".join(shown) + "".join(str(vars(r)) for r in caplog.records)
    assert "pushed credentials" in text
    for secret in ("imdsSECRET", "imdsTOKEN", "ASIAIMDS"):
        assert secret not in text
