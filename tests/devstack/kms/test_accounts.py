"""The files beside the service: principals, AWS configuration, certificates."""

from __future__ import annotations

import ssl
import stat
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from cryptography import x509

from devstack.kms.accounts import ensure_principals, write_aws_files
from devstack.kms.principals import (
    PrincipalsError,
    PrincipalsFile,
    new_session,
    new_user,
    read_principals,
    write_principals,
)
from devstack.kms.tls import ensure_certificates
from tests.kms_fixtures import ACCOUNT, ADMIN, CLIENT, PARENT, allow

if TYPE_CHECKING:
    from pathlib import Path

NOW = datetime.now(UTC)


def test_principals_are_written_for_their_owner_and_read_again(tmp_path: Path) -> None:
    path = tmp_path / "principals.json"
    some = [
        new_user(ADMIN, identity_policy=allow("kms:CreateKey")),
        new_session(PARENT, "i-1", now=NOW),
    ]
    write_principals(path, some)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert read_principals(path) == some


def test_a_changed_file_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "principals.json"
    client, late = new_user(CLIENT), new_session(PARENT, "i-1", now=NOW)
    write_principals(path, [client])
    principals = PrincipalsFile(path)
    assert principals.find(late.access_key_id) is None
    write_principals(path, [client, late])
    assert principals.find(late.access_key_id) == late
    assert principals.arns() == {CLIENT, PARENT}


NOBODY = '{"arn": "x", "access_key_id": "", "secret_access_key": ""}'


@pytest.mark.parametrize(
    "content", ["", "{}", '{"principals": [{}]}', f'{{"principals": [{NOBODY}]}}']
)
def test_another_file_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "principals.json"
    path.write_text(content)
    with pytest.raises(PrincipalsError):
        PrincipalsFile(path)


def test_a_session_without_a_time_zone_is_refused() -> None:
    with pytest.raises(PrincipalsError, match="time zone"):
        replace(new_session(PARENT, "i-1", now=NOW), expires=datetime(2026, 1, 1))  # noqa: DTZ001


def test_the_dev_account_is_made_once_and_its_session_renewed(tmp_path: Path) -> None:
    path = tmp_path / "dev" / "principals.json"
    first = ensure_principals(path, ACCOUNT, NOW)
    assert sorted(first) == ["admin", "client", "parent"]
    assert ensure_principals(path, ACCOUNT, NOW + timedelta(hours=1)) == first
    later = ensure_principals(path, ACCOUNT, NOW + timedelta(hours=8))
    assert later["admin"] == first["admin"]
    assert later["parent"].access_key_id != first["parent"].access_key_id
    assert len(read_principals(path)) == 3


def test_aws_files_hold_every_profile(tmp_path: Path) -> None:
    people = ensure_principals(tmp_path / "principals.json", ACCOUNT, NOW)
    config, credentials = write_aws_files(
        tmp_path / "aws",
        people,
        endpoint="https://127.0.0.1:1",
        region="us-east-1",
        ca=tmp_path / "ca.pem",
    )
    assert "[profile parent]" in config.read_text()
    assert str(people["parent"].session_token) in credentials.read_text()
    assert stat.S_IMODE(credentials.stat().st_mode) == 0o600


def test_the_certificate_is_kms_s_and_kept(tmp_path: Path) -> None:
    paths = ensure_certificates(tmp_path, "eu-central-1")
    before = [path.read_bytes() for path in (paths.ca, paths.certificate, paths.key)]
    assert ensure_certificates(tmp_path, "eu-central-1") == paths
    assert [path.read_bytes() for path in (paths.ca, paths.certificate, paths.key)] == before
    certificate = x509.load_pem_x509_certificate(paths.certificate.read_bytes())
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == [
        "kms.eu-central-1.amazonaws.com",
        "localhost",
    ]
    assert [str(ip) for ip in names.get_values_for_type(x509.IPAddress)] == ["127.0.0.1"]
    assert stat.S_IMODE(paths.key.stat().st_mode) == 0o600


def test_another_region_or_an_ending_certificate_is_replaced(tmp_path: Path) -> None:
    first = ensure_certificates(tmp_path, "us-east-1").certificate.read_bytes()
    other = ensure_certificates(tmp_path, "us-west-2").certificate.read_bytes()
    assert other != first
    nearly_over = NOW + timedelta(days=360)
    paths = ensure_certificates(tmp_path, "us-west-2", now=nearly_over)
    assert paths.certificate.read_bytes() != other


def test_strict_clients_take_the_chain(tmp_path: Path) -> None:
    paths = ensure_certificates(tmp_path, "us-east-1")
    context = ssl.create_default_context(cafile=str(paths.ca))
    context.verify_flags |= ssl.VERIFY_X509_STRICT
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(paths.certificate, paths.key)
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    one = context.wrap_bio(to_client, to_server, server_hostname="kms.us-east-1.amazonaws.com")
    two = server.wrap_bio(to_server, to_client, server_side=True)
    done = [False, False]
    while not all(done):
        for i, side in enumerate((one, two)):
            try:
                side.do_handshake()
                done[i] = True
            except ssl.SSLWantReadError:
                continue
