"""What every operation needs: the state, the time, and the three questions about a key.

Which key is meant, may this caller do this with it, and is it in a state to do so.
"""

from __future__ import annotations

import re
import uuid
from typing import TYPE_CHECKING

from devstack.kms import errors
from devstack.kms.evaluator import Request, decide_on_key, decide_without_key

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import datetime

    from blindgate.attestation import Root
    from devstack.kms.conditions import Context
    from devstack.kms.principals import Principal, Principals
    from devstack.kms.recipient import Recipient
    from devstack.kms.store import Key, Store

_MULTI_REGION = re.compile(r"mrk-[0-9a-f]{32}")
_ARN = re.compile(r"arn:aws[a-z-]*:kms:([a-z0-9-]+):(\d{12}):(.+)")


class Service:
    """The key management service of one account in one region."""

    def __init__(
        self,
        store: Store,
        *,
        root: Root,
        region: str,
        account: str,
        principals: Principals,
        clock: Callable[[], datetime],
    ) -> None:
        self.store = store
        self.root = root
        self.region = region
        self.account = account
        self.principals = principals
        self._clock = clock

    def now(self) -> datetime:
        """The time of the service, UTC."""
        return self._clock()

    def arn(self, resource: str) -> str:
        """ARN of `key/…` or `alias/…` in this account and region."""
        return f"arn:aws:kms:{self.region}:{self.account}:{resource}"

    def find(self, name: str, *, aliases: bool = True) -> Key:
        """Find the key that a `KeyId` means.

        Args:
            name: Key id, key ARN, alias name or alias ARN.
            aliases: Whether the operation takes aliases.

        Raises:
            KmsError: NotFoundException or InvalidArnException.
        """
        state = self.store.commit(lambda s: s.without_expired(self.now()))
        resource = self._local_part(name)
        if resource.startswith("alias/") and aliases:
            alias = state.aliases.get(resource)
            if alias is None:
                raise errors.not_found(f"Alias {self.arn(resource)} is not found.")
            return state.keys[alias.key_id]
        key_id = resource.removeprefix("key/")
        if not _is_key_id(key_id):
            raise errors.not_found(f"Invalid keyId '{key_id[:64]}'")
        if key_id not in state.keys:
            raise errors.not_found(f"Key '{self.arn(f'key/{key_id}')}' does not exist")
        return state.keys[key_id]

    def find_for_ciphertext(self, key_id: str) -> Key:
        """Find the key that a ciphertext names.

        Raises:
            KmsError: AccessDeniedException, which does not tell why.
        """
        state = self.store.commit(lambda s: s.without_expired(self.now()))
        # A ciphertext holds the digits only; replicas of a multi-Region key share them.
        for each in (key_id, f"mrk-{key_id.replace('-', '')}"):
            if each in state.keys:
                return state.keys[each]
        raise errors.unknown_ciphertext_key()

    def authorize(
        self,
        caller: Principal,
        operation: str,
        key: Key,
        *,
        named: str = "",
        encryption_context: Mapping[str, str] | None = None,
        recipient: Recipient | None = None,
        extra: Context | None = None,
    ) -> None:
        """Refuse a request that key policy, identity policy and grants do not allow.

        Args:
            caller: Who asks.
            operation: Name of the action, without `kms:`.
            key: The key.
            named: The `KeyId` of the request, for `kms:RequestAlias`.
            encryption_context: The pairs of the request.
            recipient: The verified recipient, if the request has one.
            extra: Further condition keys of this operation.

        Raises:
            KmsError: AccessDeniedException.
        """
        pairs = encryption_context or {}
        context = self._context(key, named, pairs)
        context |= recipient.context() if recipient else {}
        context |= extra or {}
        request = Request(caller, f"kms:{operation}", key.arn, context, pairs)
        decision = decide_on_key(request, key)
        if not decision.allowed:
            raise errors.access_denied(caller.arn, request.action, key.arn, decision.reason)

    def authorize_without_key(
        self,
        caller: Principal,
        operation: str,
        *,
        resource: str = "*",
        recipient: Recipient | None = None,
    ) -> None:
        """Refuse a request that the caller's identity policy does not allow.

        Raises:
            KmsError: AccessDeniedException.
        """
        context = recipient.context() if recipient else {}
        request = Request(caller, f"kms:{operation}", resource, context, {})
        decision = decide_without_key(request)
        if not decision.allowed:
            raise errors.access_denied(caller.arn, request.action, resource, decision.reason)

    def require_usable(self, key: Key) -> None:
        """Refuse the use of a key that is disabled or about to be deleted.

        Raises:
            KmsError: DisabledException or KMSInvalidStateException.
        """
        self.require_kept(key)
        if not key.enabled:
            raise errors.disabled(key.arn)

    def require_kept(self, key: Key) -> None:
        """Refuse to change a key that is about to be deleted.

        Raises:
            KmsError: KMSInvalidStateException.
        """
        if key.deletion is not None:
            raise errors.pending_deletion(key.arn)

    def _local_part(self, name: str) -> str:
        if not name.startswith("arn:"):
            return name if name.startswith("alias/") else f"key/{name}"
        found = _ARN.fullmatch(name)
        if not found or not found[3].startswith(("key/", "alias/")):
            raise errors.KmsError("InvalidArnException", f"Invalid arn {name[:128]}")
        if found[1] != self.region:
            raise errors.not_found(f"Invalid arn {found[1]}")
        if found[2] != self.account:
            raise errors.not_found(f"Key '{name[:128]}' does not exist")
        return found[3]

    def _context(self, key: Key, named: str, pairs: Mapping[str, str]) -> Context:
        state = self.store.state
        aliases = tuple(a.name for a in state.aliases.values() if a.key_id == key.key_id)
        context: Context = {
            f"kms:encryptioncontext:{name}".lower(): (value,) for name, value in pairs.items()
        }
        context["kms:keyspec"] = ("SYMMETRIC_DEFAULT",)
        context["kms:keyusage"] = ("ENCRYPT_DECRYPT",)
        context["kms:keyorigin"] = ("AWS_KMS",)
        context["kms:multiregion"] = (str(key.key_id.startswith("mrk-")).lower(),)
        if pairs:
            context["kms:encryptioncontextkeys"] = tuple(pairs)
        if aliases:
            context["kms:resourcealiases"] = aliases
        if "alias/" in named:
            context["kms:requestalias"] = (named[named.index("alias/") :],)
        return context


def _is_key_id(text: str) -> bool:
    return _MULTI_REGION.fullmatch(text) is not None or _is_uuid(text)


def _is_uuid(text: str) -> bool:
    try:
        return str(uuid.UUID(text)) == text
    except ValueError:
        return False
