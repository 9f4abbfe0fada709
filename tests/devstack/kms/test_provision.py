"""A stack that starts again finds its key, with today's policy."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from botocore.exceptions import ClientError

from blindgate.policy.writer import write_policy
from devstack.kms.provision import ensure_key
from tests.kms_fixtures import ADMIN, PARENT, pcr_set

if TYPE_CHECKING:
    from tests.kms_fixtures import RunningKms


def test_a_key_is_made_once_and_its_policy_follows(kms: RunningKms) -> None:
    admin = kms.client("admin")
    blue, green = (
        write_policy(pcr_sets=[pcr_set(image)], roles=[PARENT], admins=[ADMIN])
        for image in ("blue", "green")
    )
    key = ensure_key(admin, "alias/provisioned", blue)
    assert ensure_key(admin, "alias/provisioned", green) == key
    assert json.loads(admin.get_key_policy(KeyId=key)["Policy"]) == green


def test_somebody_else_s_key_is_left_alone(kms: RunningKms) -> None:
    policy = write_policy(pcr_sets=[pcr_set("blue")], roles=[PARENT], admins=[ADMIN])
    ensure_key(kms.client("admin"), "alias/taken", policy)
    with pytest.raises(ClientError, match="AccessDeniedException"):
        ensure_key(kms.client("stranger"), "alias/taken", policy)
