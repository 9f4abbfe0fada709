"""`blindgate encrypt`: put a photo into an envelope under a KMS key."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final
from urllib.parse import urlsplit

import typer

from blindgate.cli.console import err, fail, out
from blindgate.cli.files import Force, check_new, read_file, refuse_format, write_new
from blindgate.envelope.context import DEFAULT_CONTEXT
from blindgate.envelope.recognise import is_envelope
from blindgate.imaging import formats
from blindgate.printable import printable

if TYPE_CHECKING:
    from botocore.client import BaseClient
    from botocore.exceptions import ClientError

#: The largest body that any worker can be configured to take.
MAX_BYTES: Final = 256 * 1024 * 1024
_LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "::1"})


class Format(StrEnum):
    """The values of --format; those of `blindgate.envelope.recognise.EnvelopeKind`."""

    ENCRYPTION_SDK = "encryption-sdk"
    SAMPLE = "sample"


_FILE = Annotated[Path, typer.Argument(metavar="FILE", help="The image to encrypt.")]
_KEY = Annotated[
    str,
    typer.Option(
        "--key-id",
        metavar="KEY",
        envvar="BLINDGATE_KMS_KEY",
        help="KMS key: alias/NAME, key id, or ARN of either.",
    ),
]
_REGION = Annotated[
    str | None,
    typer.Option("--region", help="AWS region.  [default: the ARN's, or the configured one]"),
]
_ENDPOINT = Annotated[
    str | None,
    typer.Option("--endpoint-url", metavar="URL", help="Another KMS, such as `blindgate dev kms`."),
]
_PROFILE = Annotated[
    str | None, typer.Option("--profile", help="A profile of the AWS configuration.")
]
_FORMAT = Annotated[
    Format,
    typer.Option(
        "--format",
        help="An AWS Encryption SDK message, or the layout of the AWS object-detection sample.",
    ),
]
_CONTEXT = Annotated[
    list[str] | None,
    typer.Option(
        "--context",
        metavar="NAME=VALUE",
        help="Encryption context, as the enclave requires it; repeat for more."
        "  [default: purpose=blindgate]",
    ),
]
_OUTPUT = Annotated[
    Path | None,
    typer.Option("--output", "-o", metavar="PATH", help="[default: FILE.encrypted]"),
]


def encrypt(
    file: _FILE,
    key_id: _KEY,
    region: _REGION = None,
    endpoint_url: _ENDPOINT = None,
    profile: _PROFILE = None,
    format: _FORMAT = Format.ENCRYPTION_SDK,  # noqa: A002  the option's name
    context: _CONTEXT = None,
    output: _OUTPUT = None,
    force: Force = False,
) -> None:
    """Encrypt an image under a KMS key, for an enclave only.

    A fresh data key encrypts the image, and KMS encrypts the data key. AWS credentials come from
    where the AWS CLI has them; they need kms:GenerateDataKey and nothing more. Files that exist
    are replaced with --force only; it also encrypts what the enclave could not open.

    Example: `blindgate encrypt photo.jpg --key-id alias/blindgate --region eu-central-1`
    """
    pairs = _pairs(context)
    if format is Format.SAMPLE and context:
        fail("the sample's layout has no encryption context", "Leave out --context", code=2)
    if endpoint_url and not _is_safe(endpoint_url):
        fail("--endpoint-url must be https: KMS sends the data key back", code=2)
    plaintext = _content_of(file, force=force)
    written = output or file.with_name(f"{file.name}.encrypted")
    beside = written.with_name(f"{written.name.removesuffix('.encrypted')}.data_key.encrypted")
    targets = [written, beside] if format is Format.SAMPLE else [written]
    for target in targets:
        check_new(target, force=force, inputs=[file])

    with err.status("Encrypting …"), _said_plainly(key_id, region, endpoint_url):
        kms = _client(key_id, region, endpoint_url, profile)
        try:
            if format is Format.SAMPLE:
                contents = _as_sample(plaintext, kms, key_id)
            else:
                contents = _as_message(plaintext, kms, key_id, pairs)
        finally:
            kms.close()
    for target, data in zip(targets, contents, strict=True):
        write_new(target, data, force=force)
        out.print(f"{printable(target)}  {len(data):,} bytes")
    if formats.image_format(plaintext) is None:
        err.print(
            f"Warning: {file} does not begin as {formats.ACCEPTED} does, and the enclave "
            "opens nothing else.",
            style="yellow",
        )
    if format is Format.SAMPLE:
        err.print(
            "Without an encryption context, an enclave opens it only where its measured"
            " configuration says sample_files = true.",
            style="yellow",
        )


def _as_message(
    plaintext: bytes, kms: BaseClient, key_id: str, context: dict[str, str]
) -> tuple[bytes, ...]:
    from blindgate.envelope import encryption_sdk

    return (encryption_sdk.encrypt(plaintext, kms=kms, key_id=key_id, context=context),)


def _as_sample(plaintext: bytes, kms: BaseClient, key_id: str) -> tuple[bytes, ...]:
    from blindgate.envelope.sample_file import SampleFile, seal

    data_key = kms.generate_data_key(KeyId=key_id, KeySpec="AES_256")
    blob = data_key["CiphertextBlob"]
    return SampleFile(blob, seal(data_key["Plaintext"], plaintext)).encode(), blob


def _content_of(file: Path, *, force: bool) -> bytes:
    content = read_file(file, limit=MAX_BYTES)
    if not content:
        fail(f"{file} is empty", code=2)
    if is_envelope(content) and not force:
        fail(f"{file} is encrypted already", "Use --force to encrypt it once more", code=2)
    if force or formats.image_format(content):
        return content
    if formats.other_format(content) or formats.is_text(content):
        refuse_format(content, file)
    return content


def _pairs(context: list[str] | None) -> dict[str, str]:
    if not context:
        return dict(DEFAULT_CONTEXT)
    pairs = {}
    for text in context:
        name, equals, value = text.partition("=")
        if not name or not equals or name in pairs:
            fail(f"--context {text} is not a further NAME=VALUE", code=2)
        pairs[name] = value
    return pairs


def _is_safe(endpoint_url: str) -> bool:
    try:
        url = urlsplit(endpoint_url)
    except ValueError:
        return False
    return bool(url.hostname) and (
        url.scheme == "https" or (url.scheme == "http" and url.hostname in _LOOPBACK)
    )


def _client(
    key_id: str, region: str | None, endpoint_url: str | None, profile: str | None
) -> BaseClient:
    import boto3
    from botocore.config import Config

    # The library reports a refusal as a log entry with a traceback, and then raises it as well.
    logging.getLogger("aws_encryption_sdk").setLevel(logging.CRITICAL)
    return boto3.session.Session(profile_name=profile).client(
        "kms",
        region_name=region or _region_of(key_id),
        endpoint_url=endpoint_url,
        config=Config(connect_timeout=5, read_timeout=15, retries={"total_max_attempts": 3}),
    )


def _region_of(key_id: str) -> str | None:
    parts = key_id.split(":")
    return parts[3] if len(parts) > 3 and parts[0] == "arn" else None


@contextmanager
def _said_plainly(key_id: str, region: str | None, endpoint_url: str | None) -> Iterator[None]:
    """Turn what AWS's libraries raise into one line, and what to do next."""
    from aws_encryption_sdk.exceptions import AWSEncryptionSDKClientError
    from botocore.exceptions import BotoCoreError, ClientError

    where = endpoint_url or f"KMS in {region or _region_of(key_id) or 'the configured region'}"
    try:
        yield
        return
    except ClientError as error:
        said = _as_kms_says(error, key_id, where)
    except AWSEncryptionSDKClientError as error:
        if isinstance(error.__cause__, ClientError):
            said = _as_kms_says(error.__cause__, key_id, where)
        else:
            said = (f"the AWS Encryption SDK refuses: {error}", None)
    except (BotoCoreError, ValueError) as error:
        said = _as_botocore_says(error, where)
    # Outside of the handlers: a traceback would keep the client's connections open.
    fail(*said)


def _as_botocore_says(error: Exception, where: str) -> tuple[str, str | None]:
    import botocore.exceptions as aws

    match error:
        case (
            aws.NoCredentialsError()
            | aws.PartialCredentialsError()
            | aws.CredentialRetrievalError()
        ):
            return "no AWS credentials found", "Set AWS_PROFILE, or run `aws configure`"
        case aws.ProfileNotFound():
            return str(error), "`aws configure list-profiles` names those that there are"
        case aws.NoRegionError():
            return "no region is configured", "Add --region, or give the key's ARN"
        case aws.SSLError():
            return (
                f"the certificate of {where} is not trusted",
                "If it is a dev KMS, set AWS_CA_BUNDLE to its ca.pem",
            )
        case aws.HTTPClientError() | aws.ConnectionError():
            return f"cannot reach {where}", "Check --endpoint-url, --region and the network"
        case _:
            return f"AWS's library refuses: {' '.join(str(error).split())}", None


def _as_kms_says(error: ClientError, key_id: str, where: str) -> tuple[str, str | None]:
    answer: dict[str, Any] = error.response.get("Error", {})
    match code := answer.get("Code", ""):
        case "NotFoundException":
            return (
                f"there is no key {key_id} at {where}",
                "`aws kms list-aliases` names those that there are",
            )
        case "AccessDeniedException":
            return (
                f"these credentials may not use {key_id}",
                "Its key policy must allow them kms:GenerateDataKey",
            )
        case "ExpiredTokenException" | "UnrecognizedClientException" | "InvalidClientTokenId":
            return "the AWS credentials are not valid, or no longer", "Renew them and try again"
        case "DisabledException" | "KMSInvalidStateException":
            return f"the key {key_id} is disabled or about to be deleted", None
        case _:
            said = " ".join(str(answer.get("Message", "")).split())
            return f"KMS refuses with {code}: {said}", None
