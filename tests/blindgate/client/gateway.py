"""A gateway in memory with real enclaves behind it: real documents, real keys, real sealing.

Only the sockets are missing. What a gateway may do wrong is a method or an attribute here.
"""

from __future__ import annotations

import base64
import json
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

import httpx

from blindgate import problems, routes
from blindgate.attestation import PcrSet, Trust, UserData
from blindgate.detections import Box, Detection, Detections, ImageSize, ModelRef
from blindgate.sealing import ohttp
from blindgate.sealing.xwing import SEED_SIZE
from devstack.nsm import DevNsm, DevRoot
from enclave_app.handlers.ohttp import (
    InnerAnswer,
    InnerRequest,
    OpenRejected,
    SealedEndpoint,
    UnknownKey,
)
from enclave_app.keys.keyring import Keyring

URL = "https://gateway.example"
PCRS = {index: bytes([0xA0 + index]) * 48 for index in (0, 1, 2)}
FOUND = Detections(
    model=ModelRef(name="model", version="1"),
    image=ImageSize(width=640, height=480),
    detections=(
        Detection(
            label="airplane",
            class_id=5,
            score=0.875,
            box=Box(x_min=1, y_min=2, x_max=30, y_max=40),
        ),
    ),
)


class Enclave:
    """One worker, as far as sealing goes. `handler` may be replaced.

    Args:
        root: Signs its documents.
        debug_mode: Whether its PCRs are all zeros.
        ids: Random bytes for the key ids alone.
    """

    def __init__(
        self,
        root: DevRoot,
        *,
        debug_mode: bool = False,
        ids: Callable[[int], bytes] = os.urandom,
    ) -> None:
        self.root = root
        self.asked: list[InnerRequest] = []
        self.handler: Callable[[InnerRequest], InnerAnswer] = lambda _: InnerAnswer(
            200, FOUND.to_json()
        )
        self.clock_error = 0.0
        self.now = 0.0
        self.keyring = Keyring(
            clock=lambda: self.now,
            random=lambda count: os.urandom(count) if count == SEED_SIZE else ids(count),
        )
        self.endpoint = SealedEndpoint(self.keyring, clock=lambda: time.time() + self.clock_error)
        self.nsm = DevNsm(
            root, "i-0123456789abcdef0-enc0123456789abcdef", PCRS, debug_mode=debug_mode
        )

    def handle(self, request: InnerRequest) -> InnerAnswer:
        self.asked.append(request)
        return self.handler(request)

    def user_data(self) -> bytes:
        return UserData(self.keyring.digest(), bytes(32), bytes(32)).encode()

    def attest(self, nonce: bytes | None) -> bytes:
        return self.nsm.attest(user_data=self.user_data(), nonce=nonce)


def problem(kind: problems.Problem, **headers: str) -> httpx.Response:
    return httpx.Response(
        kind.status,
        headers={"content-type": problems.MEDIA_TYPE, **headers},
        content=json.dumps(kind.body()),
    )


class Gateway:
    """Routes by key id; `seen` are the requests as a gateway sees them."""

    def __init__(self, *enclaves: Enclave) -> None:
        self.enclaves = list(enclaves)
        self.turn = 0
        self.seen: list[httpx.Request] = []
        self.replace: dict[str, Callable[[httpx.Request], httpx.Response]] = {}
        self._lock = threading.Lock()

    def paths(self) -> list[str]:
        return [f"{request.method} {request.url.path}" for request in self.seen]

    def __call__(self, request: httpx.Request) -> httpx.Response:
        with self._lock:
            self.seen.append(request)
        key = f"{request.method} {request.url.path}"
        if key in self.replace:
            return self.replace[key](request)
        if not self.enclaves:
            return problem(problems.ENCLAVE_UNAVAILABLE, **{"retry-after": "7"})
        return {
            "GET /.well-known/ohttp-gateway": self.keys,
            "GET /v1/attestation": self.attestation,
            "POST /.well-known/ohttp-gateway": self.sealed,
        }[key](request)

    def keys(self, _: httpx.Request) -> httpx.Response:
        with self._lock:
            enclave = self.enclaves[self.turn % len(self.enclaves)]
            self.turn += 1
        return httpx.Response(
            200,
            headers={"content-type": routes.OHTTP_KEYS_TYPE},
            content=enclave.keyring.keys_body(),
        )

    def attestation(self, request: httpx.Request) -> httpx.Response:
        enclave = self.holder(int(request.url.params["key_id"]))
        if enclave is None:
            return problem(problems.OHTTP_KEY)
        nonce = base64.urlsafe_b64decode(request.url.params["nonce"] + "==")
        return self.document(enclave.attest(nonce))

    @staticmethod
    def document(document: bytes) -> httpx.Response:
        headers = {"content-type": 'application/cose; cose-type="cose-sign1"'}
        return httpx.Response(200, headers=headers, content=document)

    def sealed(self, request: httpx.Request) -> httpx.Response:
        assert request.headers["content-type"] == routes.OHTTP_REQUEST_TYPE
        enclave = self.holder(ohttp.key_id(request.content))
        if enclave is None:
            return problem(problems.OHTTP_KEY)
        try:
            answer = enclave.endpoint.open_and_answer(bytearray(request.content), enclave.handle)
        except UnknownKey:
            return problem(problems.OHTTP_KEY)
        except OpenRejected:
            return problem(problems.OHTTP_REJECTED)
        headers = {"content-type": routes.OHTTP_RESPONSE_TYPE}
        return httpx.Response(200, headers=headers, content=bytes(answer))

    def holder(self, key_id: int) -> Enclave | None:
        holders = (one for one in self.enclaves if key_id in one.keyring.key_ids())
        return next(holders, None)


def trust(root: DevRoot, pcrs: dict[int, bytes] | None = None) -> Trust:
    return Trust(root.root, (PcrSet("test", PCRS if pcrs is None else pcrs),))


def write_state(folder: Path, root: DevRoot, pcrs: dict[int, bytes]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "root.pem").write_bytes(root.pem)
    measured = {f"PCR{index}": value.hex() for index, value in pcrs.items()}
    (folder / "pcrs.json").write_text(json.dumps({"Measurements": measured}))
