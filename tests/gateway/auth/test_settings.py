"""What the gateway refuses to start with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from gateway.settings import Settings


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.1", "gateway.example", ""])
def test_nobody_listens_to_the_world_without_sign_in(host: str) -> None:
    with pytest.raises(ValidationError, match="nobody would have to sign in"):
        Settings(host=host)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "::1", "localhost"])
def test_loopback_needs_no_sign_in(host: str) -> None:
    assert Settings(host=host).host == host


@pytest.mark.parametrize(
    "given",
    [
        {"allow_anonymous": True},
        {"api_keys": Path("keys.json")},
        {"api_keys_secret": "keys"},
        {"oidc_issuer": "https://id.example", "oidc_audience": "blindgate"},
    ],
)
def test_any_sign_in_or_being_told_so_opens_other_addresses(given: dict[str, Any]) -> None:
    assert Settings(host="0.0.0.0", **given).host == "0.0.0.0"


@pytest.mark.parametrize(
    "given",
    [
        {"oidc_issuer": "https://id.example"},
        {"oidc_audience": "blindgate"},
        {"oidc_issuer": "http://id.example", "oidc_audience": "a"},
        {"oidc_issuer": "file:///etc", "oidc_audience": "a"},
        {"oidc_issuer": "https://id.example", "oidc_audience": "a", "oidc_jwks_uri": "http://x"},
        {"rate_limit": "many"},
        {"rate_limit": "0/minute"},
        {"cors_origins": "*"},
        {"cors_origins": "https://*.example"},
        {"cors_origins": "https://app.example/"},
        {"cors_origins": "https://app.example,evil"},
        {"cors_origins": "null"},
        {"trusted_proxies": "*"},
        {"trusted_proxies": "0.0.0.0/0"},
        {"trusted_proxies": "10.0.0.1,::/0"},
        {"trusted_proxies": "10.0.0.1/8"},
        {"trusted_proxies": "proxy.internal"},
    ],
)
def test_settings_that_would_let_in_more_than_meant_are_refused(given: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Settings(**given)


def test_trusted_proxies_are_addresses_and_networks() -> None:
    given = "10.0.0.0/19, 192.0.2.7,fd00::/8"
    assert Settings(trusted_proxies=given).trusted_proxies == (
        "10.0.0.0/19",
        "192.0.2.7",
        "fd00::/8",
    )


def test_origins_may_have_ports_and_be_several() -> None:
    origins = "https://app.example, http://localhost:5173,http://[::1]:8080"
    assert Settings(cors_origins=origins).cors_origins == (
        "https://app.example",
        "http://localhost:5173",
        "http://[::1]:8080",
    )
