"""Who signed: SigV4 as KMS checks it, over TLS and with botocore's own signatures."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from devstack.kms.errors import KmsError
from devstack.kms.principals import Principal, StaticPrincipals, new_session
from devstack.kms.sigv4 import SignedRequest, authenticate
from tests.devstack.kms.signing import call, signed_headers
from tests.kms_fixtures import PARENT, REGION

if TYPE_CHECKING:
    import httpx

    from tests.kms_fixtures import RunningKms

BODY = b'{"NumberOfBytes": 8}'


def test_a_signature_of_botocore_is_accepted(kms: RunningKms, http: httpx.Client) -> None:
    answer = call(kms, http, "admin", "ListAliases", {})
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/x-amz-json-1.1"
    assert answer.headers["x-amzn-requestid"]


def test_an_unsigned_request_is_refused(http: httpx.Client) -> None:
    answer = http.post("/", headers={"X-Amz-Target": "TrentService.ListAliases"}, content=b"{}")
    assert answer.status_code == 400
    assert answer.json()["__type"] == "MissingAuthenticationTokenException"


def test_a_wrong_secret_is_refused(kms: RunningKms, http: httpx.Client) -> None:
    wrong = replace(kms.principals["admin"], secret_access_key="wrong")
    answer = http.post("/", headers=signed_headers(kms, wrong, "ListAliases", b"{}"), content=b"{}")
    assert answer.json()["__type"] == "InvalidSignatureException"
    assert "does not match the signature you provided" in answer.json()["message"]


def test_a_changed_body_is_refused(kms: RunningKms, http: httpx.Client) -> None:
    headers = signed_headers(kms, kms.principals["admin"], "ListAliases", b"{}")
    answer = http.post("/", headers=headers, content=b'{"Limit": 1}')
    assert answer.json()["__type"] == "InvalidSignatureException"


def test_a_changed_operation_is_refused(kms: RunningKms, http: httpx.Client) -> None:
    headers = signed_headers(kms, kms.principals["admin"], "ListAliases", b"{}")
    headers["X-Amz-Target"] = "TrentService.CreateKey"
    assert http.post("/", headers=headers, content=b"{}").json()["__type"] == (
        "InvalidSignatureException"
    )


def test_an_unknown_access_key_is_refused(kms: RunningKms, http: httpx.Client) -> None:
    nobody = replace(kms.principals["admin"], access_key_id="AKIANOBODY")
    answer = http.post(
        "/", headers=signed_headers(kms, nobody, "ListAliases", b"{}"), content=b"{}"
    )
    assert answer.json() == {
        "__type": "UnrecognizedClientException",
        "message": "The security token included in the request is invalid.",
    }


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"region": "eu-west-1"}, "valid region, not 'eu-west-1'"),
        ({"service": "s3"}, "correct service: 'kms'"),
    ],
)
def test_another_scope_is_refused(
    kms: RunningKms, http: httpx.Client, changes: dict[str, str], text: str
) -> None:
    answer = call(kms, http, "admin", "ListAliases", {}, **changes)
    assert answer.json()["__type"] == "InvalidSignatureException"
    assert text in answer.json()["message"]


class Signed:
    """One request of botocore, checked without a network."""

    def __init__(self, kms: RunningKms, principal: Principal) -> None:
        self.headers = {
            name.lower(): value
            for name, value in signed_headers(kms, principal, "GenerateRandom", BODY).items()
        }
        self.principals = StaticPrincipals([principal])

    def check(self, **changes: object) -> Principal:
        options: dict[str, object] = {
            "principals": self.principals,
            "region": REGION,
            "now": datetime.now(UTC),
        }
        request = SignedRequest("POST", "/", "", self.headers, BODY)
        return authenticate(request, **(options | changes))  # type: ignore[arg-type]


@pytest.fixture
def session_signed(kms: RunningKms) -> Signed:
    return Signed(kms, new_session(PARENT, "i-1", now=datetime.now(UTC)))


def test_a_role_session_is_known_by_its_role(session_signed: Signed) -> None:
    principal = session_signed.check()
    assert principal.arn == "arn:aws:sts::111122223333:assumed-role/blindgate-parent/i-1"
    assert principal.principal_arn == PARENT


@pytest.mark.parametrize(
    ("skew", "text"),
    [
        (timedelta(minutes=5, seconds=2), "Signature expired: "),
        (-timedelta(minutes=5, seconds=2), "Signature not yet current: "),
    ],
)
def test_a_clock_more_than_five_minutes_off_is_refused(
    session_signed: Signed, skew: timedelta, text: str
) -> None:
    with pytest.raises(KmsError, match=text) as refusal:
        session_signed.check(now=datetime.now(UTC) + skew)
    assert refusal.value.name == "InvalidSignatureException"
    assert "5 min.)" in str(refusal.value)


@pytest.mark.parametrize("skew", [timedelta(minutes=4, seconds=50), -timedelta(minutes=4)])
def test_a_clock_a_little_off_is_accepted(session_signed: Signed, skew: timedelta) -> None:
    session_signed.check(now=datetime.now(UTC) + skew)


def test_a_session_that_has_ended_is_refused(kms: RunningKms) -> None:
    long_ago = datetime.now(UTC) - timedelta(hours=7)
    signed = Signed(kms, new_session(PARENT, "i-1", now=long_ago))
    with pytest.raises(KmsError) as refusal:
        signed.check()
    assert refusal.value.body() == {
        "__type": "ExpiredTokenException",
        "message": "The security token included in the request is expired",
    }


def test_another_session_token_is_refused(session_signed: Signed) -> None:
    session_signed.headers["x-amz-security-token"] = "another"
    with pytest.raises(KmsError, match="UnrecognizedClientException"):
        session_signed.check()


def test_a_session_without_its_token_is_refused(session_signed: Signed) -> None:
    del session_signed.headers["x-amz-security-token"]
    with pytest.raises(KmsError, match=r"UnrecognizedClientException|InvalidSignatureException"):
        session_signed.check()


def test_a_header_that_is_acted_upon_must_be_signed(session_signed: Signed) -> None:
    session_signed.headers["authorization"] = session_signed.headers["authorization"].replace(
        ";x-amz-target", ""
    )
    with pytest.raises(KmsError, match="'x-amz-target' must be a 'SignedHeader'"):
        session_signed.check()


@pytest.mark.parametrize(
    ("authorization", "name"),
    [
        ("", "MissingAuthenticationTokenException"),
        ("Basic YWRtaW46YWRtaW4=", "IncompleteSignatureException"),
        ("AWS4-HMAC-SHA256", "IncompleteSignatureException"),
        ("AWS4-HMAC-SHA256 Credential=a/b/c", "IncompleteSignatureException"),
        (
            "AWS4-HMAC-SHA256 Credential=a/b, SignedHeaders=host, Signature=00",
            "IncompleteSignatureException",
        ),
        (
            "AWS4-ECDSA-P256-SHA256 Credential=a/b/c/d/e, SignedHeaders=host, Signature=00",
            "IncompleteSignatureException",
        ),
    ],
)
def test_a_broken_authorization_is_refused(
    session_signed: Signed, authorization: str, name: str
) -> None:
    session_signed.headers["authorization"] = authorization
    with pytest.raises(KmsError) as refusal:
        session_signed.check()
    assert refusal.value.name == name


@pytest.mark.parametrize("stamp", ["", "yesterday", "20261399T999999Z"])
def test_a_broken_date_is_refused(session_signed: Signed, stamp: str) -> None:
    session_signed.headers["x-amz-date"] = stamp
    with pytest.raises(KmsError, match="IncompleteSignatureException"):
        session_signed.check()


def test_a_date_of_another_day_than_the_scope_is_refused(session_signed: Signed) -> None:
    session_signed.headers["x-amz-date"] = "20200101T000000Z"
    with pytest.raises(KmsError, match="Date in Credential scope does not match"):
        session_signed.check()


def test_no_secret_is_in_a_repr() -> None:
    principal = new_session(PARENT, "i-1", now=datetime.now(UTC))
    assert principal.secret_access_key not in repr(principal)
    assert str(principal.session_token) not in repr(principal)
