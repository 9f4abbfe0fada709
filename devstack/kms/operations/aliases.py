"""Second names of keys."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from devstack.kms import errors, inputs
from devstack.kms.store import Alias

if TYPE_CHECKING:
    from devstack.kms.principals import Principal
    from devstack.kms.service import Service
    from devstack.kms.store import State


def create_alias(service: Service, caller: Principal, body: inputs.Body) -> None:
    """CreateAlias: needs the permission on the alias and on the key."""
    name = inputs.text(body, "AliasName", longest=256, pattern="^[a-zA-Z0-9:/_-]+$")
    if not name.startswith("alias/") or name == "alias/":
        raise errors.invalid(
            'Alias must start with the prefix "alias/". Please see '
            "https://docs.aws.amazon.com/kms/latest/developerguide/kms-alias.html"
        )
    if name.startswith("alias/aws/"):
        raise errors.KmsError("NotAuthorizedException", None)
    key = service.find(inputs.text(body, "TargetKeyId"), aliases=False)
    service.authorize_without_key(caller, "CreateAlias", resource=service.arn(name))
    service.authorize(caller, "CreateAlias", key)
    service.require_kept(key)
    alias = Alias(name, key.key_id, service.now())

    def add(state: State) -> State:
        if name in state.aliases:
            raise errors.KmsError(
                "AlreadyExistsException",
                f"An alias with the name {service.arn(name)} already exists",
            )
        return state.with_alias(alias)

    service.store.commit(add)


def list_aliases(service: Service, caller: Principal, body: inputs.Body) -> dict[str, Any]:
    """ListAliases, in pages."""
    limit = inputs.integer(body, "Limit", least=1, most=1000) or 50
    marker = inputs.text(body, "Marker", default="", shortest=0, longest=1024)
    service.authorize_without_key(caller, "ListAliases")
    only = service.find(inputs.text(body, "KeyId")) if body.get("KeyId") else None
    found = sorted(
        (
            a
            for a in service.store.state.aliases.values()
            if only is None or a.key_id == only.key_id
        ),
        key=lambda a: a.name,
    )
    rest = [a for a in found if a.name > marker]
    if marker and not any(a.name == marker for a in found):
        raise errors.KmsError("InvalidMarkerException", "Could not deserialize marker")
    page = rest[:limit]
    answer: dict[str, Any] = {
        "Aliases": [
            {
                "AliasName": a.name,
                "AliasArn": service.arn(a.name),
                "TargetKeyId": a.key_id,
                "CreationDate": a.created.timestamp(),
                "LastUpdatedDate": a.created.timestamp(),
            }
            for a in page
        ],
        "Truncated": len(rest) > limit,
    }
    if len(rest) > limit:
        answer["NextMarker"] = page[-1].name
    return answer
