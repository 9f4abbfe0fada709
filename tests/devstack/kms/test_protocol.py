"""The wire: AWS JSON 1.1, and KMS's names for what is wrong with a request."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import httpx
import pytest

from devstack.kms.app import MAX_BODY
from tests.devstack.kms.signing import call

if TYPE_CHECKING:
    from tests.kms_fixtures import RunningKms


@pytest.mark.parametrize(
    ("operation", "body", "name"),
    [
        ("ListAliases", b"not json", "SerializationException"),
        ("ListAliases", b"[]", "SerializationException"),
        ("ListAliases", b"[" * 100_000, "SerializationException"),
        ("ListAliases", {"Limit": "ten"}, "SerializationException"),
        ("ListAliases", {"Limit": True}, "SerializationException"),
        ("ListAliases", {"Limit": 1001}, "ValidationException"),
        ("ListAliases", {"Marker": "nowhere"}, "InvalidMarkerException"),
        ("DescribeKey", {}, "ValidationException"),
        ("DescribeKey", {"KeyId": 7}, "SerializationException"),
        ("DescribeKey", {"KeyId": ""}, "ValidationException"),
        ("DescribeKey", {"KeyId": "nonsense"}, "NotFoundException"),
        ("DescribeKey", {"KeyId": "alias/nothing"}, "NotFoundException"),
        ("DescribeKey", {"KeyId": "arn:aws:s3:::bucket"}, "InvalidArnException"),
        (
            "DescribeKey",
            {"KeyId": "arn:aws:kms:eu-west-1:111122223333:key/1"},
            "NotFoundException",
        ),
        ("Decrypt", {"CiphertextBlob": "***"}, "SerializationException"),
        ("Decrypt", {"CiphertextBlob": ""}, "ValidationException"),
        ("Decrypt", {"CiphertextBlob": "AAAA"}, "InvalidCiphertextException"),
        ("Decrypt", {"CiphertextBlob": "AAAA", "Recipient": []}, "SerializationException"),
        ("Decrypt", {"CiphertextBlob": "AAAA", "EncryptionContext": []}, "SerializationException"),
        (
            "Decrypt",
            {"CiphertextBlob": "AAAA", "EncryptionContext": {"a": "1", "A": "2"}},
            "ValidationException",
        ),
        (
            "Decrypt",
            {"CiphertextBlob": "AAAA", "EncryptionContext": {"a": "x" * 9000}},
            "ValidationException",
        ),
        ("Encrypt", {"KeyId": "alias/x", "Plaintext": "A" * 8000}, "ValidationException"),
        ("GenerateRandom", {}, "ValidationException"),
        ("GenerateRandom", {"NumberOfBytes": 0}, "ValidationException"),
        ("GenerateRandom", {"NumberOfBytes": 1025}, "ValidationException"),
        ("CreateAlias", {"AliasName": "mine", "TargetKeyId": "x"}, "ValidationException"),
        ("CreateKey", {"KeySpec": "RSA_2048"}, "UnsupportedOperationException"),
        ("CreateKey", {"MultiRegion": True}, "UnsupportedOperationException"),
        ("ReEncrypt", {}, "UnsupportedOperationException"),
        ("Sign", {}, "UnknownOperationException"),
    ],
)
def test_what_is_wrong_has_kms_s_name(
    kms: RunningKms, http: httpx.Client, operation: str, body: Any, name: str
) -> None:
    answer = call(kms, http, "admin", operation, body)
    assert answer.status_code == 400
    assert answer.json()["__type"] == name


def test_a_constraint_is_told_in_aws_s_words(kms: RunningKms, http: httpx.Client) -> None:
    answer = call(kms, http, "admin", "GenerateRandom", {"NumberOfBytes": 0})
    assert answer.json()["message"] == (
        "1 validation error detected: Value '0' at 'numberOfBytes' failed to satisfy "
        "constraint: Member must have value greater than or equal to 1"
    )


def test_re_encrypt_says_why_it_is_refused(kms: RunningKms, http: httpx.Client) -> None:
    answer = call(kms, http, "admin", "ReEncrypt", {})
    assert "would leave the key policy" in answer.json()["message"]


@pytest.mark.parametrize("target", ["DynamoDB_20120810.ListTables", "TrentService", "ListAliases"])
def test_another_service_s_operation_is_unknown(
    kms: RunningKms, http: httpx.Client, target: str
) -> None:
    answer = call(kms, http, "admin", "", {}, target=target)
    assert answer.json() == {"__type": "UnknownOperationException"}


def test_a_body_over_the_limit_is_refused(http: httpx.Client) -> None:
    answer = http.post("/", content=bytes(MAX_BODY + 1))
    assert answer.status_code == 413


@pytest.mark.parametrize("path", ["/", "/docs", "/openapi.json"])
def test_nothing_is_answered_without_a_signature(http: httpx.Client, path: str) -> None:
    assert http.get(path).json()["__type"] == "MissingAuthenticationTokenException"


def test_plain_http_gets_nothing(kms: RunningKms) -> None:
    with httpx.Client() as client, pytest.raises(httpx.HTTPError):
        client.get(kms.endpoint.replace("https", "http"))


def test_a_client_without_the_dev_authority_refuses_it(kms: RunningKms) -> None:
    with httpx.Client() as client, pytest.raises(httpx.ConnectError, match="certificate"):
        client.get(kms.endpoint)
