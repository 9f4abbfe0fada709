"""Who may call: a few users and role sessions with static credentials, kept in one file.

The file is JSON and 0600. Sessions have a token and an end, like those that an instance's role
gets, so that renewal and `ExpiredTokenException` can be tested. Identity policies are optional;
they matter where a key policy delegates to the account, and for what has no key (`CreateKey`,
`ListAliases`, `GenerateRandom`).
"""

from __future__ import annotations

import json
import re
import secrets
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Protocol

from blindgate.atomic_files import write_file
from blindgate.errors import BlindgateError
from blindgate.policy.document import PolicyDocument, parse_identity_policy

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

_SESSION = re.compile(r"arn:(aws[a-z-]*):sts::(\d{12}):assumed-role/([\w+=,.@-]+)/([\w+=,.@-]+)")
_IDENTITY = re.compile(r"arn:aws[a-z-]*:iam::(\d{12}):(?:root|(?:user|role)/[\w+=,.@/-]+)")


class PrincipalsError(BlindgateError):
    """The file of principals cannot be used."""


@dataclass(frozen=True, slots=True)
class Principal:
    """One set of credentials and whom it stands for.

    Attributes:
        arn: The caller as error texts name it; for a role, its session
            (`arn:aws:sts::ACCOUNT:assumed-role/NAME/SESSION`).
        access_key_id: Public half of the credentials.
        secret_access_key: Secret half.
        session_token: Present for temporary credentials.
        expires: End of temporary credentials.
        identity_policy: The policy document attached to the principal, as JSON text.
    """

    arn: str
    access_key_id: str
    secret_access_key: str = field(repr=False)
    session_token: str | None = field(default=None, repr=False)
    expires: datetime | None = None
    identity_policy: str | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if not (_SESSION.fullmatch(self.arn) or _IDENTITY.fullmatch(self.arn)):
            raise PrincipalsError(f"{self.arn!r} is no ARN of a user, a role session or the root")
        if self.expires is not None and self.expires.tzinfo is None:
            raise PrincipalsError("the end of a session needs a time zone")

    @property
    def principal_arn(self) -> str:
        """`aws:PrincipalArn`: the role for a session, otherwise the ARN itself."""
        if found := _SESSION.fullmatch(self.arn):
            partition, account, role, _ = found.groups()
            return f"arn:{partition}:iam::{account}:role/{role}"
        return self.arn

    @property
    def account(self) -> str:
        """The twelve digits of the account."""
        return self.arn.split(":")[4]

    @property
    def permissions(self) -> PolicyDocument | None:
        """The parsed identity policy."""
        return parse_identity_policy(self.identity_policy) if self.identity_policy else None


class Principals(Protocol):
    """Where the service looks callers up."""

    def find(self, access_key_id: str) -> Principal | None:
        """Return the principal with these credentials, or `None`."""
        ...

    def arns(self) -> frozenset[str]:
        """All principal ARNs: the ones that a key policy may name."""
        ...


class StaticPrincipals:
    """Principals that are given once."""

    def __init__(self, principals: Iterable[Principal]) -> None:
        self._by_key = {each.access_key_id: each for each in principals}

    def find(self, access_key_id: str) -> Principal | None:
        """Return the principal with these credentials, or `None`."""
        return self._by_key.get(access_key_id)

    def arns(self) -> frozenset[str]:
        """All principal ARNs."""
        return frozenset(each.principal_arn for each in self._by_key.values())


class PrincipalsFile:
    """Principals in a file, read again when it changes: sessions can be issued while it serves."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._stamp: tuple[int, int] | None = None
        self._loaded = StaticPrincipals(())
        self._refresh()

    def find(self, access_key_id: str) -> Principal | None:
        """Return the principal with these credentials, or `None`."""
        return self._refresh().find(access_key_id)

    def arns(self) -> frozenset[str]:
        """All principal ARNs."""
        return self._refresh().arns()

    def _refresh(self) -> StaticPrincipals:
        try:
            status = self.path.stat()
            stamp = (status.st_mtime_ns, status.st_ino)
            if stamp != self._stamp:
                self._loaded = StaticPrincipals(read_principals(self.path))
                self._stamp = stamp
        except OSError as error:
            raise PrincipalsError(f"{self.path} cannot be read: {error.strerror}") from None
        return self._loaded


def read_principals(path: Path) -> list[Principal]:
    """Read the file.

    Raises:
        PrincipalsError: It is not the file that `write_principals` writes.
    """
    try:
        return [_from_json(each) for each in json.loads(path.read_text())["principals"]]
    except (ValueError, KeyError, TypeError) as error:
        raise PrincipalsError(f"{path} is no file of principals: {type(error).__name__}") from None


def write_principals(path: Path, principals: Iterable[Principal]) -> None:
    """Write the file atomically, readable by its owner only."""
    body = {"principals": [_to_json(each) for each in principals]}
    write_file(path, json.dumps(body, indent=2).encode(), mode=0o600)


def new_user(arn: str, *, identity_policy: Mapping[str, Any] | None = None) -> Principal:
    """Make a user with fresh long-lived credentials."""
    return Principal(
        arn=arn,
        access_key_id="AKIA" + _key_id(),
        secret_access_key=secrets.token_urlsafe(30),
        identity_policy=json.dumps(identity_policy) if identity_policy else None,
    )


def new_session(
    role_arn: str,
    session: str,
    *,
    now: datetime,
    lifetime: timedelta = timedelta(hours=6),
    identity_policy: Mapping[str, Any] | None = None,
) -> Principal:
    """Make temporary credentials for a role, like those of an instance profile.

    Args:
        role_arn: `arn:aws:iam::ACCOUNT:role/NAME`.
        session: The session's name; on EC2 the instance id.
        now: When they begin.
        lifetime: How long they last; EC2's last about six hours.
        identity_policy: The role's policy.
    """
    _, partition, _, _, account, role = role_arn.split(":", 5)
    return Principal(
        arn=f"arn:{partition}:sts::{account}:assumed-role/{role.removeprefix('role/')}/{session}",
        access_key_id="ASIA" + _key_id(),
        secret_access_key=secrets.token_urlsafe(30),
        session_token=secrets.token_urlsafe(96),
        expires=now + lifetime,
        identity_policy=json.dumps(identity_policy) if identity_policy else None,
    )


def _key_id() -> str:
    return "".join(secrets.choice("ABCDEFGHIJKLMNOPQRSTUVWXYZ234567") for _ in range(16))


def _to_json(principal: Principal) -> dict[str, Any]:
    body: dict[str, Any] = {
        "arn": principal.arn,
        "access_key_id": principal.access_key_id,
        "secret_access_key": principal.secret_access_key,
    }
    if principal.session_token is not None:
        body["session_token"] = principal.session_token
    if principal.expires is not None:
        body["expires"] = principal.expires.isoformat()
    if principal.identity_policy is not None:
        body["identity_policy"] = json.loads(principal.identity_policy)
    return body


def _from_json(body: Mapping[str, Any]) -> Principal:
    policy = body.get("identity_policy")
    expires = body.get("expires")
    principal = Principal(
        arn=body["arn"],
        access_key_id=body["access_key_id"],
        secret_access_key=body["secret_access_key"],
        session_token=body.get("session_token"),
        expires=datetime.fromisoformat(expires) if expires else None,
        identity_policy=json.dumps(policy) if policy else None,
    )
    _ = principal.permissions  # a broken policy is refused when the file is read
    return principal
