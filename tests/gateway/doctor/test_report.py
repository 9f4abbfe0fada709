"""What `blindgate doctor` prints and writes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from gateway.doctor.cli import run
from gateway.doctor.host import Done, HttpResponse
from gateway.doctor.redaction import redact
from tests.gateway.doctor import fake_host as at
from tests.gateway.doctor.fake_host import FakeHost, healthy

JOURNAL = "journalctl --no-pager --output=short-iso -n 200 -u blindgate-enclave@blue.service"


def broken() -> FakeHost:
    host = healthy()
    del host.nodes["/dev/nitro_enclaves"]
    return host


def test_a_healthy_instance_is_exit_code_0(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(healthy()) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1] == "19 ok"
    assert len(lines) == 20


def test_a_fault_is_exit_code_1_and_says_what_to_do(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(broken()) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("failed  enclave-support")
    assert lines[1].strip().startswith("-> load the driver: modprobe nitro_enclaves")
    assert lines[-1] == "17 ok, 1 failed, 1 skipped"


def test_what_is_unknown_is_no_failure(capsys: pytest.CaptureFixture[str]) -> None:
    host = healthy()
    del host.commands[at.show("blindgate-vsock-proxy.service")]
    assert run(host) == 0
    assert "1 unknown" in capsys.readouterr().out


def test_nothing_that_was_read_steers_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    host = healthy()
    host.commands[at.DESCRIBE] = at.described(at.enclave(EnclaveName="a\x1b[31m\nb"))
    run(host)
    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert len(out.splitlines()) <= 19 + 6


def test_json_has_each_check(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(broken(), as_json_text=True) == 1
    found = json.loads(capsys.readouterr().out)
    assert found["version"] == 1
    assert found["ok"] is False
    first = found["checks"][0]
    assert first["name"] == "enclave-support"
    assert first["result"] == "failed"
    assert first["fix"].startswith("load the driver")
    assert {each["result"] for each in found["checks"]} == {"ok", "failed", "skipped"}
    (pages,) = [each for each in found["checks"] if each["name"] == "huge-pages"]
    assert pages["details"] == {"total_mib": 2048, "free_mib": 0}


SECRETS = (
    at.SECRET,
    "ASIAEXAMPLEEXAMPLE00",
    "T" * 200,
    "imds-token",
    "bgk_0123456789abcdef_" + "k" * 43,
    "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJhbGljZSJ9.c2lnbmF0dXJl",
    "111122223333",
    "i-0abcdef0123456789",
    "hunter2",
)


def chatty() -> FakeHost:
    """An instance whose logs hold what they should not."""
    host = healthy()
    host.commands[JOURNAL] = Done(
        0,
        "\n".join(
            [
                "2026-11-28T10:00:00+0000 enclave_unit: nitro-cli failed: [ E36 ]",
                f"token={SECRETS[2]}",
                f"aws_secret_access_key = {at.SECRET}",
                f"pushed {SECRETS[1]} and {at.SECRET} with {SECRETS[2]}",
                f"Authorization: Bearer {SECRETS[5]}",
                f"x-api-key: {SECRETS[4]} rejected {SECRETS[4]}",
                'config {"password": "hunter2"} redis://user:hunter2@host:6379',
                f"{at.KEY} on {SECRETS[7]}",
            ]
        ),
        f"session {SECRETS[5]}",
    )
    host.answers[f"{at.IMDS}/latest/meta-data/instance-type"] = HttpResponse(200, {}, b"c6i.xlarge")
    host.files["/var/log/blindgate/first-hour-console.txt"] = "[    0.000000] Linux version 6.12"
    host.files["/proc/cmdline"] = "console=ttyS0 password=hunter2\n"
    return host


def test_the_report_explains_and_holds_no_secret(tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    run(chatty(), report=path)
    text = path.read_text()
    for secret in SECRETS:
        assert secret not in text
    found: dict[str, Any] = json.loads(text)
    assert found["checks"][0]["name"] == "enclave-support"
    assert found["images"][at.EIF]["architecture"] == "x86_64"
    assert found["files"]["/etc/nitro_enclaves/allocator.yaml"].startswith("---\nmemory_mib: 2048")
    assert found["instance"] == {"instance-type": "c6i.xlarge", "ami-id": "(unknown)"}
    assert "Linux version" in found["files"]["/var/log/blindgate/first-hour-console.txt"]
    assert "[ E36 ]" in found["commands"][JOURNAL]["stdout"]
    # Measurements are public, and what a maintainer compares.
    assert at.PCRS[0].hex() in json.dumps(found["commands"][at.DESCRIBE])
    # Of settings that could be secret there is the name alone.
    assert found["gateway"]["BLINDGATE_ENCLAVES"] == "vsock://16:5005"
    assert found["gateway"]["BLINDGATE_RATE_LIMIT_STORAGE"] == "[set]"


@pytest.mark.parametrize("secret", SECRETS[:6])
def test_a_credential_alone_in_a_line_is_removed(secret: str) -> None:
    if secret != "imds-token":  # nothing tells it from a word: it is never read into a text
        assert secret not in redact(f"before {secret} after")


@pytest.mark.parametrize(
    "text",
    [
        at.PCRS[0].hex(),
        "/opt/blindgate/releases/0123456789abcdef/venv/lib/python3.11/site-packages/gateway/app.py",
        "2026-11-28T10:00:00+0000 nitro-cli run-enclave failed: [ E26 ] Insufficient memory",
        "needs_credentials is true",
        "HugePages_Total: 1024",
    ],
)
def test_what_explains_a_fault_stays(text: str) -> None:
    assert redact(text) == text


@pytest.mark.timeout(60)
@pytest.mark.parametrize("word", ["secret", "a", "token=", "AKIA", "://", "eyJ", "A1", "bearer "])
def test_no_long_line_makes_removal_slow(word: str) -> None:
    """The time is bounded by the test's timeout; a quadratic pattern takes minutes."""
    redact(word * (256 * 1024 // len(word)))
