"""What the `AWS` principals of a policy name, whatever their spelling.

AWS, IAM User Guide, "IAM JSON policy elements: Principal" and "IAM identifiers". One role can be
named by its ARN, with or without its path, and by the ARN of each of its sessions, which drops
the path. Names of users and roles are unique within an account without regard to case or path, so
account, kind and last word decide.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final

from blindgate.policy.wildcards import has_wildcard

_ROOT: Final = re.compile(r"(?:arn:aws[a-z-]*:iam::)?(\d{12})(?::root)?")
_IAM: Final = re.compile(r"arn:aws[a-z-]*:iam::(\d{12}):(role|user)/(?:[^/]+/)*([^/]+)")
_STS: Final = re.compile(
    r"arn:aws[a-z-]*:sts::(\d{12}):(assumed-role|federated-user)/([^/]+)(?:/[^/]+)?"
)


class Kind(Enum):
    """What a principal is."""

    #: `*`, or a pattern.
    PATTERN = auto()
    #: An account: its root user, and whatever its identity policies let in.
    ACCOUNT = auto()
    #: A role, or one of its sessions.
    ROLE = auto()
    USER = auto()
    #: A name that a user of the account chooses when calling sts:GetFederationToken.
    FEDERATED = auto()
    #: Anything else, for example the unique id of a role (`AROA…`): nobody can read whom it names.
    UNREADABLE = auto()


@dataclass(frozen=True, slots=True)
class Identity:
    """A principal without its spelling: equal for two names of the same role or user.

    Attributes:
        kind: What it is.
        account: Twelve digits; empty if the spelling names none.
        name: Its name in lower case, without path or session; the text itself if it has none.
    """

    kind: Kind
    account: str
    name: str


def identify(principal: str) -> Identity:
    """Read one value of a `Principal` element."""
    if has_wildcard(principal):
        return Identity(Kind.PATTERN, "", principal)
    if found := _ROOT.fullmatch(principal):
        return Identity(Kind.ACCOUNT, found[1], "")
    if found := _IAM.fullmatch(principal):
        kind = Kind.ROLE if found[2] == "role" else Kind.USER
        return Identity(kind, found[1], found[3].lower())
    if found := _STS.fullmatch(principal):
        kind = Kind.ROLE if found[2] == "assumed-role" else Kind.FEDERATED
        return Identity(kind, found[1], found[3].lower())
    return Identity(Kind.UNREADABLE, "", principal)
