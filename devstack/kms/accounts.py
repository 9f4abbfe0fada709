"""The dev account: who is in it, and the AWS configuration files that speak for each of them."""

from __future__ import annotations

from configparser import ConfigParser
from dataclasses import dataclass
from datetime import timedelta
from io import StringIO
from typing import TYPE_CHECKING, Any

from blindgate.atomic_files import write_file
from devstack.kms.principals import (
    Principal,
    new_session,
    new_user,
    read_principals,
    write_principals,
)

if TYPE_CHECKING:
    from datetime import datetime
    from pathlib import Path

ADMIN, CLIENT, PARENT = "admin", "client", "parent"
#: EC2 hands out role credentials for about six hours; a development day is longer.
SESSION_LIFETIME = timedelta(hours=12)
#: Sessions that end sooner are replaced when the service starts.
_RENEW_BEFORE = timedelta(hours=6)


@dataclass(frozen=True, slots=True)
class DevAccount:
    """The names of the dev account's principals.

    Attributes:
        account: Twelve digits.
    """

    account: str

    @property
    def admin(self) -> str:
        """Manages keys."""
        return f"arn:aws:iam::{self.account}:user/admin"

    @property
    def client(self) -> str:
        """A data owner, who encrypts."""
        return f"arn:aws:iam::{self.account}:user/client"

    @property
    def parent(self) -> str:
        """The role of the parent instance, whose credentials the enclave uses."""
        return f"arn:aws:iam::{self.account}:role/blindgate-parent"


def ensure_principals(path: Path, account: str, now: datetime) -> dict[str, Principal]:
    """Read the file of principals, making it and renewing what has an end.

    Args:
        path: The file.
        account: The account of the principals it gets.
        now: The time.

    Returns:
        Principals by the last part of their names (`admin`, `client`, `parent`, …).
    """
    names = DevAccount(account)
    found = read_principals(path) if path.exists() else []
    kept = [each for each in found if each.expires is None or now + _RENEW_BEFORE < each.expires]
    arns = {each.principal_arn for each in kept}
    made = [
        new_user(arn, identity_policy=policy)
        for arn, policy in ((names.admin, _administrator(account)), (names.client, None))
        if arn not in arns
    ]
    if names.parent not in arns:
        made.append(new_session(names.parent, "i-0dev", now=now, lifetime=SESSION_LIFETIME))
    if made or len(kept) != len(found):
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        write_principals(path, [*kept, *made])
    return {
        each.principal_arn.rsplit("/", 1)[-1].removeprefix("blindgate-"): each
        for each in (*kept, *made)
    }


def write_aws_files(
    folder: Path, principals: dict[str, Principal], *, endpoint: str, region: str, ca: Path
) -> tuple[Path, Path]:
    """Write `config` and `credentials` so that `aws --profile admin kms …` just works.

    Args:
        folder: Where they go.
        principals: Profiles by name.
        endpoint: URL of the service.
        region: Its region.
        ca: The CA bundle.

    Returns:
        Paths for AWS_CONFIG_FILE and AWS_SHARED_CREDENTIALS_FILE.
    """
    config, credentials = ConfigParser(), ConfigParser()
    for name, principal in principals.items():
        config[f"profile {name}"] = {
            "region": region,
            "ca_bundle": str(ca.absolute()),
            "services": "dev-kms",
        }
        credentials[name] = {
            "aws_access_key_id": principal.access_key_id,
            "aws_secret_access_key": principal.secret_access_key,
        }
        if principal.session_token:
            credentials[name]["aws_session_token"] = principal.session_token
    # configparser indents continuation lines as the AWS CLI wants nested values.
    config["services dev-kms"] = {"kms": f"\nendpoint_url = {endpoint}"}
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    paths = folder / "config", folder / "credentials"
    for path, content in zip(paths, (config, credentials), strict=True):
        text = StringIO()
        content.write(text)
        write_file(path, text.getvalue().encode(), mode=0o600)
    return paths


def _administrator(account: str) -> dict[str, Any]:
    # Only what no key policy can give, because there is no key yet.
    return {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Effect": "Allow",
                "Action": ["kms:CreateKey", "kms:ListAliases"],
                "Resource": "*",
            },
            {
                "Effect": "Allow",
                "Action": "kms:CreateAlias",
                "Resource": f"arn:aws:kms:*:{account}:alias/*",
            },
        ],
    }
