"""The state of the service: immutable values in memory, one JSON file on disk.

A change is a function from the old state to the new one. It runs under a lock, its result is
written to disk first and becomes visible afterwards, so two requests at once never lose each
other's change, readers need no lock, and a crash leaves the old state or the new one.
"""

from __future__ import annotations

import base64
import fcntl
import json
import os
import threading
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Self

from blindgate.atomic_files import write_file
from blindgate.errors import BlindgateError
from blindgate.policy.document import PolicyDocument, parse_key_policy

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path
    from types import TracebackType

_VERSION = 1


class StoreError(BlindgateError):
    """The state file cannot be used."""


@dataclass(frozen=True, slots=True)
class Grant:
    """A permission that was handed out beside the key policy.

    Attributes:
        grant_id: Its name, 64 hexadecimal digits.
        grantee: The principal that may use it.
        operations: Names of operations, without `kms:`.
        context_equals: The whole encryption context that a request must have, if constrained.
        context_subset: Pairs that a request must at least have, if constrained.
    """

    grant_id: str
    grantee: str
    operations: tuple[str, ...]
    context_equals: Mapping[str, str] | None = None
    context_subset: Mapping[str, str] | None = None


@dataclass(frozen=True, slots=True)
class Key:
    """One symmetric KMS key.

    Attributes:
        key_id: A UUID; of a multi-Region key, `mrk-` and 32 hexadecimal digits.
        arn: Its ARN.
        material: 32 bytes that never leave the service.
        policy: The key policy as it was put, as text.
        created: When it was made.
        description: Free text.
        enabled: Whether it may be used.
        deletion: When it disappears, if that is scheduled.
        grants: Grants in the order of their making.
    """

    key_id: str
    arn: str
    material: bytes = field(repr=False)
    policy: str
    created: datetime
    description: str = ""
    enabled: bool = True
    deletion: datetime | None = None
    grants: tuple[Grant, ...] = ()

    @property
    def state(self) -> str:
        """`KeyState` as KMS names it."""
        if self.deletion is not None:
            return "PendingDeletion"
        return "Enabled" if self.enabled else "Disabled"

    @property
    def document(self) -> PolicyDocument:
        """The parsed key policy."""
        return parse_key_policy(self.policy)


@dataclass(frozen=True, slots=True)
class Alias:
    """A second name of a key."""

    name: str
    key_id: str
    created: datetime


@dataclass(frozen=True, slots=True)
class State:
    """Everything the service remembers."""

    keys: Mapping[str, Key] = field(default_factory=dict)
    aliases: Mapping[str, Alias] = field(default_factory=dict)

    def with_key(self, key: Key) -> State:
        """Return a state in which this key is the one with its id."""
        return replace(self, keys={**self.keys, key.key_id: key})

    def with_alias(self, alias: Alias) -> State:
        """Return a state with one alias more."""
        return replace(self, aliases={**self.aliases, alias.name: alias})

    def without_expired(self, now: datetime) -> State:
        """Return a state without the keys whose waiting period is over, nor their aliases."""
        keys = {
            name: key
            for name, key in self.keys.items()
            if key.deletion is None or now < key.deletion
        }
        if len(keys) == len(self.keys):
            return self
        aliases = {name: each for name, each in self.aliases.items() if each.key_id in keys}
        return State(keys, aliases)


class Store:
    """The state and its file. One process at a time may hold a file."""

    def __init__(self, path: Path) -> None:
        """Open or create the state.

        Args:
            path: The JSON file; its folder is made if it is not there.

        Raises:
            StoreError: Another process holds it, or it is not a state file.
        """
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._writing = threading.Lock()
        self._guard = os.open(
            path.with_name(f"{path.name}.lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600
        )
        try:
            fcntl.flock(self._guard, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(self._guard)
            raise StoreError(f"{path} is in use by another dev KMS") from None
        try:
            self._state = _decode(json.loads(path.read_text())) if path.exists() else State()
        except (ValueError, KeyError, TypeError) as error:
            self.close()
            raise StoreError(f"{path} is no state file: {type(error).__name__}") from None

    @property
    def state(self) -> State:
        """The state as of now; it does not change under the reader."""
        return self._state

    def commit(self, change: Callable[[State], State]) -> State:
        """Apply a change, on disk first.

        Args:
            change: Gives the new state; what it raises leaves everything as it was.

        Returns:
            The new state.
        """
        with self._writing:
            changed = change(self._state)
            if changed is not self._state:
                write_file(self.path, json.dumps(_encode(changed), indent=1).encode(), mode=0o600)
                self._state = changed
            return changed

    def close(self) -> None:
        """Let another process have the file."""
        os.close(self._guard)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def _encode(state: State) -> dict[str, Any]:
    keys = []
    for key in state.keys.values():
        body = asdict(key)
        body["material"] = base64.b64encode(key.material).decode()
        body["created"] = key.created.isoformat()
        body["deletion"] = key.deletion.isoformat() if key.deletion else None
        keys.append(body)
    aliases = [{**asdict(a), "created": a.created.isoformat()} for a in state.aliases.values()]
    return {"version": _VERSION, "keys": keys, "aliases": aliases}


def _decode(body: dict[str, Any]) -> State:
    if body["version"] != _VERSION:
        raise ValueError
    keys = {}
    for each in body["keys"]:
        grants = tuple(Grant(**{**g, "operations": tuple(g["operations"])}) for g in each["grants"])
        keys[each["key_id"]] = Key(
            **{
                **each,
                "material": base64.b64decode(each["material"], validate=True),
                "created": _time(each["created"]),
                "deletion": _time(each["deletion"]) if each["deletion"] else None,
                "grants": grants,
            }
        )
    aliases = {
        each["name"]: Alias(each["name"], each["key_id"], _time(each["created"]))
        for each in body["aliases"]
    }
    return State(keys, aliases)


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)
