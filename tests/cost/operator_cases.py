"""What the gateway and the command line read that others wrote."""

from __future__ import annotations

import json

from pydantic import ValidationError

from blindgate.detections import Detections
from blindgate.policy.document import MAX_KEY_POLICY_BYTES, parse_key_policy
from blindgate.policy.errors import MalformedPolicyError
from enclave_image import eif
from enclave_image.errors import MalformedImage
from gateway.audit import chain
from gateway.auth import jwks
from gateway.auth.keys import InvalidKeyStore, KeyStore
from gateway.http.multipart import boundary_of, only_file
from gateway.http.problem_responses import Refused
from tests.cost.harness import Case
from tests.cost.hostile import Make, members, nested, repeated

_BOUNDARY = b"b"
_PART = b'--b\r\nContent-Disposition: form-data; name="file"; filename="x"\r\n\r\n'
_POLICY = MAX_KEY_POLICY_BYTES // 2 - 100


def _form(data: bytes) -> object:
    chunks = [data[at : at + 65536] for at in range(0, len(data), 65536)]
    return only_file(chunks, _BOUNDARY)


def _statements(statement: bytes) -> Make:
    return repeated(b'{"Version":"2012-10-17","Statement":[', statement + b",", statement + b"]}")


def _audit(data: bytes) -> object:
    return chain.verify(data.splitlines(keepends=True))


def _audit_lines(size: int) -> bytes:
    head, lines, length = chain.Head(), [], 0
    while length < size:
        line, head = chain.link(head, {"operation": "detect", "n": "x" * 100})
        lines.append(line)
        length += len(line)
    return b"".join(lines)


def _jwks(data: bytes) -> object:
    return jwks._signing_keys(json.loads(data))


CASES = [
    Case("form of one file", lambda n: _PART + bytes(n) + b"\r\n--b--\r\n", _form, 2.0,
         refuses=(Refused,)),
    Case("form of line ends", lambda n: _PART + b"\r\n" * (n // 2), _form, 2.0, refuses=(Refused,)),
    Case("form of what looks like boundaries", lambda n: _PART + b"\r\n--" * (n // 4), _form, 40.0,
         refuses=(Refused,)),
    Case("form of a preamble", lambda n: b"x" * n, _form, 2.0, refuses=(Refused,)),
    Case("form of part headers", lambda n: b"--b\r\n" + b"a: b\r\n" * (n // 6), _form, 2.0,
         refuses=(Refused,)),
    Case("form of one endless part header", lambda n: b"--b\r\na: " + b"b" * n, _form, 2.0,
         refuses=(Refused,)),
    Case("boundary among parameters",
         lambda n: b"multipart/form-data" + b"; a=b" * (n // 5),
         lambda data: boundary_of(data.decode()), 100, 8 * 1024, (Refused,)),
    Case("policy of empty objects", _statements(b"{}"), lambda d: parse_key_policy(d.decode()),
         60, _POLICY, (MalformedPolicyError,)),
    Case("policy of unknown members", members(b"{", b"}"), lambda d: parse_key_policy(d.decode()),
         60, _POLICY, (MalformedPolicyError,)),
    Case("policy far over the limit", nested(b"[", b"]"), lambda d: parse_key_policy(d.decode()),
         3, refuses=(MalformedPolicyError,)),
    Case("image that is no image", lambda n: eif.MAGIC + bytes(n), eif.read, 0.1,
         refuses=(MalformedImage,)),
    Case("image of zeros", bytes, eif.read, 0.1, refuses=(MalformedImage,)),
    Case("API keys of empty objects", repeated(b'{"version":1,"keys":[', b"{},", b"{}]}"),
         KeyStore.from_json, 120, 256 * 1024, (InvalidKeyStore,)),
    Case("API keys of unknown members", members(b"{", b"}"), KeyStore.from_json, 120, 256 * 1024,
         (InvalidKeyStore,)),
    Case("API keys far over the limit", members(b"{", b"}"), KeyStore.from_json, 0.1,
         9 * 1024 * 1024, (InvalidKeyStore,)),
    Case("JWKS of empty objects", repeated(b'{"keys":[', b"{},", b"{}]}"), _jwks, 40, 32 * 1024,
         (jwks.KeysUnavailable,)),
    Case("audit log", _audit_lines, _audit, 6.0),
    Case("audit log of line ends", lambda n: b"\n" * n, _audit, 60.0, 512 * 1024,
         (chain.BrokenChain,)),
    Case("audit log of one line", lambda n: b"{" + b"x" * n + b"\n", _audit, 3.0,
         refuses=(chain.BrokenChain,)),
    Case("response of an enclave", repeated(b'{"detections":[', b"{},", b"{}]}"),
         Detections.model_validate_json, 100, 64 * 1024, (ValidationError,)),
]  # fmt: skip
