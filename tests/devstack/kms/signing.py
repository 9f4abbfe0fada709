"""Requests signed by botocore, to be spoiled afterwards."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import httpx
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

if TYPE_CHECKING:
    from devstack.kms.principals import Principal
    from tests.kms_fixtures import RunningKms


def signed_headers(
    kms: RunningKms,
    principal: Principal,
    operation: str,
    content: bytes,
    *,
    region: str | None = None,
    service: str = "kms",
    target: str | None = None,
) -> dict[str, str]:
    """Headers of a request that botocore has signed."""
    request = AWSRequest(
        "POST",
        kms.endpoint,
        headers={
            "Host": httpx.URL(kms.endpoint).netloc.decode(),
            "Content-Type": "application/x-amz-json-1.1",
            "X-Amz-Target": target or f"TrentService.{operation}",
        },
        data=content,
    )
    credentials = Credentials(
        principal.access_key_id, principal.secret_access_key, principal.session_token
    )
    SigV4Auth(credentials, service, region or kms.region).add_auth(request)
    return dict(request.headers.items())


def call(
    kms: RunningKms,
    http: httpx.Client,
    name: str,
    operation: str,
    body: dict[str, Any] | bytes,
    **changes: Any,
) -> httpx.Response:
    """Send a signed request and return the raw answer."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    headers = signed_headers(kms, kms.principals[name], operation, content, **changes)
    return http.post("/", headers=headers, content=content)
