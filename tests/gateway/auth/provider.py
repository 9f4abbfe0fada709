"""An identity provider of our own: keys that rotate, tokens that are right or wrong on purpose."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field
from typing import Any

import httpx
import jwt
from cryptography.hazmat.primitives.asymmetric import ec
from jwt.algorithms import ECAlgorithm

ISSUER = "https://id.example/realm"
AUDIENCE = "blindgate"


@dataclass
class Provider:
    """Answers discovery and key requests; `down` makes it answer 500."""

    keys: dict[str, ec.EllipticCurvePrivateKey] = field(default_factory=dict)
    down: bool = False
    discovery: dict[str, Any] = field(
        default_factory=lambda: {"issuer": ISSUER, "jwks_uri": "https://id.example/keys"}
    )
    extra: list[dict[str, Any]] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.rotate("first")

    def rotate(self, key_id: str) -> None:
        self.keys = {key_id: ec.generate_private_key(ec.SECP256R1())}

    def jwk(self, key_id: str) -> dict[str, Any]:
        public = json.loads(ECAlgorithm.to_jwk(self.keys[key_id].public_key()))
        return {**public, "kid": key_id, "use": "sig", "alg": "ES256"}

    def token(self, key_id: str | None = None, *, algorithm: str = "ES256", **claims: Any) -> str:
        key_id = key_id or next(iter(self.keys))
        now = int(time.time())
        body = {
            "iss": ISSUER, "aud": AUDIENCE, "sub": "alice", "iat": now, "exp": now + 300,
            "scope": "openid detect attest", **claims,
        }  # fmt: skip
        body = {name: value for name, value in body.items() if value is not None}
        signer = self.keys.get(key_id, next(iter(self.keys.values())))
        return jwt.encode(body, signer, algorithm=algorithm, headers={"kid": key_id})

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(request.url.path)
        if self.down:
            return httpx.Response(500)
        if request.url.path == "/realm/.well-known/openid-configuration":
            return httpx.Response(200, json=self.discovery)
        keys = [self.jwk(key_id) for key_id in self.keys]
        return httpx.Response(200, json={"keys": [*self.extra, *keys]})

    def client(self) -> httpx.AsyncClient:
        return httpx.AsyncClient(transport=httpx.MockTransport(self))
