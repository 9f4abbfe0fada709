"""Writes tests/vectors/sealing.json: what sealing clients and enclaves in any language must do.

Binary HTTP messages, key configurations, padded sizes, sealed requests and answers in every
suite, and keys with the attestation document that binds them. Bytes are hexadecimal. The
private keys are derived from names, so they are public: never seal anything to them.

X-Wing draws randomness that cannot be given to it, so its sealed requests stay as they were
published; everything else is made again to the byte.

Run `python -m tests.vectors.sealing` after a change of docs/protocol.md.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any, Final

from blindgate.attestation import UserData
from blindgate.sealing import bhttp, dhkem, keys, ohttp, padding
from blindgate.sealing.suites import SYMMETRIC, Kem, Symmetric
from tests.vectors import forge

PATH: Final = Path(__file__).with_suffix(".json")

REQUEST: Final = bhttp.Request(
    "POST",
    "https",
    "gateway.example",
    "/v1/detections?min_score=0.5",
    (("content-type", "image/jpeg"), ("date", "Mon, 23 Nov 2026 08:00:00 GMT")),
    b"\xff\xd8\xff the bytes of a photo",
)
RESPONSE: Final = bhttp.Response(
    200,
    (
        ("content-type", "application/json"),
        ("date", "Mon, 23 Nov 2026 08:00:01 GMT"),
        ("server-timing", "unseal;dur=0.4, detect;dur=40.0"),
    ),
    b'{"detections":[]}',
)


def seed(name: str) -> bytes:
    """32 bytes that a name stands for."""
    return hashlib.sha256(b"blindgate test vector " + name.encode()).digest()


def pair(kem: Kem) -> keys.KeyPair:
    """The published key pair of a KEM."""
    return keys.KeyPair.from_seed({Kem.XWING: 0x17, Kem.X25519: 0x42}[kem], kem, seed(kem.name))


def _fields(fields: tuple[tuple[str, str], ...]) -> list[list[str]]:
    return [list(line) for line in fields]


def _messages() -> dict[str, Any]:
    many = tuple((f"x-field-{number}", "v" * number) for number in range(20))
    requests = {
        "a photo": REQUEST,
        "nothing but a target": bhttp.Request("GET", "https", "", "/"),
        "fields, trailers and bytes over 0x7f": bhttp.Request(
            "PUT", "http", "h:8443", "/a?b=%20", (*many, ("x-latin", "caf\xe9")), b"\0", many[:2]
        ),
        "a body with a four-byte length": bhttp.Request(
            "POST", "https", "h", "/", (), b"x" * 16400
        ),
    }
    responses = {
        "an answer": RESPONSE,
        "nothing but a status": bhttp.Response(204),
        "informational responses first": bhttp.Response(
            200, (), b"x", (), ((103, (("link", "</a>"),)), (102, ()))
        ),
    }
    plain = bhttp.Request("GET", "https", "x", "/").encode()
    invalid = {
        "empty": b"",
        "unknown framing": b"\x04" + plain[1:],
        "cut inside the path": plain[:-4],
        "padding that is not zero": plain + b"\0\0\1",
        "a field name in upper case": plain[:-3] + b"\x04\x01A\x01b",
        "CRLF in a field value": plain[:-3] + b"\x05\x01a\x02\r\n",
        "a field without a name": plain[:-3] + b"\x03\x00\x01b",
        "a connection field": plain[:-3] + b"\x0c\x07upgrade\x03h2c",
        "a space in the path": b"\x00\x03GET\x05https\x01x\x02/ ",
        "content longer than the message": plain[:-2] + b"\x40\xff",
    }
    return {
        "requests": [
            {
                "name": name,
                "method": one.method,
                "scheme": one.scheme,
                "authority": one.authority,
                "path": one.path,
                "headers": _fields(one.headers),
                "content": bytes(one.content).hex(),
                "trailers": _fields(one.trailers),
                "encoded": one.encode().hex(),
            }
            for name, one in requests.items()
        ],
        "responses": [
            {
                "name": name,
                "status": one.status,
                "headers": _fields(one.headers),
                "content": bytes(one.content).hex(),
                "trailers": _fields(one.trailers),
                "informational": [[status, _fields(lines)] for status, lines in one.informational],
                "encoded": one.encode().hex(),
            }
            for name, one in responses.items()
        ],
        "invalid_requests": [
            {"name": name, "encoded": encoded.hex()} for name, encoded in invalid.items()
        ],
    }


def _key_lists() -> dict[str, Any]:
    xwing, x25519 = pair(Kem.XWING).config, pair(Kem.X25519).config
    unknown = b"\x09\x00\x10" + bytes(65) + bytes.fromhex("000400010001")
    known = keys.encode_list([x25519])
    lists = {
        "what an enclave publishes": (keys.encode_list([xwing, x25519]), xwing),
        "the other order": (keys.encode_list([x25519, xwing]), xwing),
        "X25519 alone": (known, x25519),
        "a KEM that nobody here speaks": (len(unknown).to_bytes(2) + unknown + known, x25519),
    }
    invalid = {
        "empty": b"",
        "nothing usable": len(unknown).to_bytes(2) + unknown,
        "cut": known[:-1],
        "without lengths": x25519.encode(),
        "one key id twice": known + known,
        "algorithms cut": (len(known) - 4).to_bytes(2) + x25519.encode()[:-2],
    }
    return {
        "valid": [
            {
                "name": name,
                "body": body.hex(),
                "sha256": hashlib.sha256(body).hexdigest(),
                "configurations": [
                    {
                        "key_id": config.key_id,
                        "kem": int(config.kem),
                        "public_key": config.public_key.hex(),
                        "symmetric": [[one.kdf, one.aead] for one in config.symmetric],
                    }
                    for config in keys.decode_list(body)
                ],
                "chosen": chosen.key_id,
            }
            for name, (body, chosen) in lists.items()
        ],
        "invalid": [{"name": name, "body": body.hex()} for name, body in invalid.items()],
    }


def _exchange(kem: Kem, symmetric: Symmetric, published: dict[str, Any]) -> dict[str, Any]:
    name = f"{kem.name} with AEAD {symmetric.aead}"
    keypair = pair(kem)
    message = REQUEST.encode(padded_to=padding.request_size(1))
    described: dict[str, Any] = {
        "name": name,
        "key_id": keypair.config.key_id,
        "kem": int(kem),
        "kdf": symmetric.kdf,
        "aead": symmetric.aead,
        "private_key": seed(kem.name).hex(),
        "public_key": keypair.config.public_key.hex(),
        "request": message.hex(),
    }
    if kem is Kem.X25519:
        ephemeral = dhkem.DhkemPrivateKey(seed("ephemeral " + name))
        described["ephemeral_private_key"] = seed("ephemeral " + name).hex()
        encapsulated = ohttp.seal_request(
            keypair.config, message, symmetric=symmetric, ephemeral=ephemeral
        ).encapsulated
    elif name in published:
        encapsulated = bytes.fromhex(published[name]["encapsulated_request"])
    else:
        encapsulated = ohttp.seal_request(keypair.config, message, symmetric=symmetric).encapsulated
    opened = ohttp.open_request(encapsulated, {keypair.config.key_id: keypair}.get)
    if opened.message != message:
        raise ValueError(f"{name}: the published request is for another message")
    size = 16 if symmetric.aead == 1 else 32
    nonce = seed("nonce " + name)[:size]
    answer = RESPONSE.encode(padded_to=2048)
    return {
        **described,
        "encapsulated_request": encapsulated.hex(),
        "response": answer.hex(),
        "response_nonce": nonce.hex(),
        "encapsulated_response": opened.response.seal(answer, nonce=nonce).hex(),
    }


def _bound_keys() -> dict[str, Any]:
    body = keys.encode_list([pair(kem).config for kem in Kem])
    model, config = seed("model"), seed("config")
    bound = UserData(hashlib.sha256(body).digest(), model, config)
    other = UserData(seed("other keys"), model, config)
    return {
        "root_pem": forge.ROOT.pem.decode(),
        "pcr_set": {str(index): value.hex() for index, value in forge.BLUE.values.items()},
        "at": forge.NOW.isoformat().replace("+00:00", "Z"),
        "nonce": forge.NONCE.hex(),
        "keys": body.hex(),
        "user_data": bound.encode().hex(),
        "digests": {"keys": bound.keys.hex(), "model": model.hex(), "config": config.hex()},
        "document": forge.document(user_data=bound.encode()).hex(),
        "documents_to_refuse": [
            {"name": name, "document": forge.document(user_data=user_data).hex()}
            for name, user_data in (
                ("other keys", other.encode()),
                ("no user_data", None),
                ("another purpose", bound.encode().replace(b"client", b"others")),
                ("bytes after user_data", bound.encode() + b"\0"),
            )
        ],
    }


def build() -> dict[str, Any]:
    """The vectors; the same ones every time, but for what X-Wing drew when they were published."""
    published = json.loads(PATH.read_text())["exchanges"] if PATH.exists() else []
    by_name = {one["name"]: one for one in published}
    return {
        "specification": "docs/protocol.md",
        "binary_http": _messages(),
        "key_lists": _key_lists(),
        "padded_requests": [
            [length, padding.request_size(length)]
            for length in (0, 1, 1023, 1024, 1025, 5000, 65536, 65537, 1_000_000, 12_345_678)
        ],
        "answer_buckets": list(padding.ANSWER_BUCKETS),
        "exchanges": [_exchange(kem, one, by_name) for kem in Kem for one in SYMMETRIC],
        "bound_keys": _bound_keys(),
    }


def dump() -> str:
    """The file's content."""
    return json.dumps(build(), indent=1) + "\n"


if __name__ == "__main__":
    PATH.write_text(dump())
