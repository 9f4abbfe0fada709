"""What a refusal takes says nothing of the secret: item 14 of the checklist, without a clock.

Time on a shared machine proves nothing. Instead every call of a function, in Python or in C, is
counted: refusals that differ only in the secret must do exactly the same work. What one call
takes is up to the libraries: `hmac.compare_digest` and authenticated ciphers do not depend on
the contents.
"""

from __future__ import annotations

import ast
import re
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from blindgate.attestation import Trust, errors, verify
from blindgate.sealing import keys, ohttp
from blindgate.sealing.errors import OpenRejected
from blindgate.sealing.suites import Kem
from gateway.auth.caller import Scope
from gateway.auth.keys import Keys, KeyStore
from tests.vectors.forge import BLUE, NONCE, NOW, PINNED, document

ROOT = Path(__file__).resolve().parents[2]


def work(do: Callable[[], object], error: type[Exception] | None = None) -> Counter[str]:
    """How often each function is called meanwhile."""
    calls: Counter[str] = Counter()

    def count(frame: FrameType, event: str, arg: Any) -> None:
        if event == "call":
            calls[f"{frame.f_code.co_filename}:{frame.f_code.co_qualname}"] += 1
        elif event == "c_call":
            calls[arg.__qualname__] += 1

    refused: type[Exception] | None = None
    sys.setprofile(count)
    try:
        do()
    except Exception as raised:  # noqa: BLE001 - compared below
        refused = type(raised)
    finally:
        sys.setprofile(None)
    assert refused is error
    assert sum(calls.values()) > 1
    return calls


def flipped(data: bytes, at: int) -> bytes:
    return bytes(each ^ (index == at % len(data)) for index, each in enumerate(data))


def test_checklist_14_a_wrong_nonce_takes_the_same_work_wherever_it_differs() -> None:
    trust = Trust(PINNED, (BLUE,))
    made = document()

    def refuse(nonce: bytes) -> Counter[str]:
        return work(lambda: verify(made, trust=trust, nonce=nonce, now=NOW), errors.NonceMismatch)

    first, *others = [refuse(flipped(NONCE, at)) for at in (0, 0, 15, -1)][1:]
    assert first["compare_digest"] == 1
    assert all(other == first for other in others)


def test_checklist_14_every_api_key_that_is_refused_takes_the_same_hashing() -> None:
    now = datetime.now(UTC)
    store, record, key = KeyStore().with_new("a", [Scope.DETECT], now=now - timedelta(days=2))
    store, _, expired = store.with_new(
        "b", [Scope.DETECT], now=now - timedelta(days=2), lifetime=timedelta(days=1)
    )
    store, gone, revoked = store.with_new("c", [Scope.DETECT], now=now)
    found = Keys(store.without(gone.id, now))
    assert found.find(key) is not None
    unknown = key.replace(record.id, "0" * 16)
    head, secret = key[:-43], key[-43:]
    presented = [
        head + ("A" if secret[0] != "A" else "B") + secret[1:],
        head + secret[:-2] + ("AA" if secret[-2:] != "AA" else "BB"),
        unknown,
        expired,
        revoked,
        "x" * len(key),
    ]
    done = []
    for each in presented:
        assert found.find(each) is None
        calls = work(lambda each=each: found.find(each))  # type: ignore[misc]
        done.append((calls["openssl_sha256"], calls["compare_digest"]))
    assert set(done) == {(1, 1)}


@pytest.mark.parametrize("kem", list(Kem))
def test_checklist_14_a_request_that_does_not_open_takes_the_same_work_whatever_is_wrong(
    kem: Kem,
) -> None:
    pair = keys.KeyPair.from_seed(7, kem, bytes(range(32)))
    sealed = ohttp.seal_request(pair.config, b"a photo" * 100).encapsulated
    body = 7 + kem.encapsulated_size

    def refuse(at: int) -> Counter[str]:
        changed = flipped(sealed, at)
        return work(lambda: ohttp.open_request(changed, lambda _: pair), OpenRejected)

    # The last byte of `enc`, the first of the ciphertext, one in the middle, and both ends of
    # the tag. The first call fills caches.
    first, *others = [refuse(at) for at in (-1, body - 1, body, body + 350, -16, -1)][1:]
    assert all(other == first for other in others)


SECRET = re.compile(
    r"(nonce|secret|token|password|signature|mac|tag|digest|sha256|hash)$", re.IGNORECASE
)
#: Comparisons of what everybody may know: names in files of a format, and digests of published
#: files.
PUBLIC = {
    "blindgate/attestation/cbor.py: major == _TAG",
    "blindgate/attestation/cose.py: document[0] >> 5 == _TAG",
    "blindgate/attestation/document.py: value != DIGEST",
    "blindgate/client/session.py: enclave.user_data.keys == hashlib.sha256(body).digest()",
    "blindgate/imaging/orientation.py: tag == _TAG",
    "enclave_app/detector/session.py: hashlib.sha256(data).hexdigest() != sha256",
    "enclave_app/kms/cms.py: data[at] != tag",
    "enclave_app/kms/cms.py: encrypted.tag() == _CONTEXT_0_CONSTRUCTED",
    "gateway/audit/chain.py: noted.pop(head.seq, head.hash) != head.hash",
    "gateway/dataplane.py: hashlib.sha256(keeper.keys).digest() == vouched",
}


def _last_name(node: ast.expr) -> str:
    if isinstance(node, ast.Call):
        return _last_name(node.func)
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else ""


def _equalities(tree: ast.AST) -> Iterator[ast.Compare]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Compare) and any(
            isinstance(operator, ast.Eq | ast.NotEq) for operator in node.ops
        ):
            yield node


def _secret_equalities(source: str) -> Iterator[str]:
    for node in _equalities(ast.parse(source)):
        if any(SECRET.search(_last_name(side)) for side in (node.left, *node.comparators)):
            yield ast.unparse(node)


def test_checklist_14_no_secret_is_compared_with_an_operator() -> None:
    assert list(_secret_equalities("if request.nonce == nonce: pass")) == ["request.nonce == nonce"]
    assert list(_secret_equalities("a != hmac.digest(k, m)")) == ["a != hmac.digest(k, m)"]
    assert list(_secret_equalities("len(nonce) == 32")) == []
    found = {
        f"{path.relative_to(ROOT)}: {comparison}"
        for package in ("blindgate", "enclave_app", "gateway")
        for path in (ROOT / package).rglob("*.py")
        for comparison in _secret_equalities(path.read_text())
    }
    assert found == PUBLIC, "compare with hmac.compare_digest, or say here why it is public"
