"""Wrap, unwrap and make keys, and answer attested requests for their recipient only."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Any

from devstack.kms import cms, errors, inputs
from devstack.kms.ciphertext import key_id_of, open_blob, seal
from devstack.kms.operations.keys import material_id
from devstack.kms.recipient import Recipient, verify_recipient

if TYPE_CHECKING:
    from devstack.kms.principals import Principal
    from devstack.kms.service import Service
    from devstack.kms.store import Key

_ALGORITHM = "SYMMETRIC_DEFAULT"
#: Limits of KMS's API model, in bytes.
_MAX_PLAINTEXT = 4096
_MAX_CIPHERTEXT = 6144
_MAX_DOCUMENT = 262144
_SPECS = {"AES_256": 32, "AES_128": 16}


def encrypt(service: Service, caller: Principal, body: inputs.Body) -> dict[str, Any]:
    """Encrypt."""
    named, pairs = inputs.text(body, "KeyId"), inputs.pairs(body, "EncryptionContext")
    plaintext = inputs.blob(body, "Plaintext", longest=_MAX_PLAINTEXT)
    _algorithm(body)
    key = service.find(named)
    service.authorize(caller, "Encrypt", key, named=named, encryption_context=pairs)
    service.require_usable(key)
    _stop_dry_run(body)
    return {
        "CiphertextBlob": inputs.encode(seal(key.key_id, key.material, plaintext, pairs)),
        "KeyId": key.arn,
        "EncryptionAlgorithm": _ALGORITHM,
    }


def decrypt(service: Service, caller: Principal, body: inputs.Body) -> dict[str, Any]:
    """Decrypt, in plain or for an attested recipient."""
    blob = inputs.blob(body, "CiphertextBlob", longest=_MAX_CIPHERTEXT)
    pairs = inputs.pairs(body, "EncryptionContext")
    named = inputs.text(body, "KeyId", default="")
    document = _document(body)
    _algorithm(body)
    if body.get("DryRunModifiers"):
        raise errors.unsupported("The dev KMS has no DryRunModifiers.")
    expected = service.find(named) if named else None
    key = service.find_for_ciphertext(key_id_of(blob))
    if expected is not None and expected.key_id != key.key_id:
        raise errors.incorrect_key()
    recipient = _recipient(service, document)
    service.authorize(
        caller, "Decrypt", key, named=named, encryption_context=pairs, recipient=recipient
    )
    service.require_usable(key)
    plaintext = open_blob(key.material, blob, pairs)
    _stop_dry_run(body)
    return {
        "KeyId": key.arn,
        "EncryptionAlgorithm": _ALGORITHM,
        "KeyMaterialId": material_id(key),
        **_release(plaintext, recipient),
    }


def generate_data_key(service: Service, caller: Principal, body: inputs.Body) -> dict[str, Any]:
    """GenerateDataKey, in plain or for an attested recipient."""
    recipient = _recipient(service, _document(body))
    key, plaintext, answer = _data_key(service, caller, body, "GenerateDataKey", recipient)
    return answer | _release(plaintext, recipient) | {"KeyMaterialId": material_id(key)}


def generate_data_key_without_plaintext(
    service: Service, caller: Principal, body: inputs.Body
) -> dict[str, Any]:
    """GenerateDataKeyWithoutPlaintext."""
    key, _, answer = _data_key(service, caller, body, "GenerateDataKeyWithoutPlaintext", None)
    return answer | {"KeyMaterialId": material_id(key)}


def generate_random(service: Service, caller: Principal, body: inputs.Body) -> dict[str, Any]:
    """GenerateRandom, in plain or for an attested recipient."""
    size = inputs.integer(body, "NumberOfBytes", least=1, most=1024)
    if size is None:
        raise errors.invalid("NumberOfBytes is required.")
    if body.get("CustomKeyStoreId"):
        raise errors.unsupported("The dev KMS has no custom key stores.")
    recipient = _recipient(service, _document(body))
    service.authorize_without_key(caller, "GenerateRandom", recipient=recipient)
    return _release(secrets.token_bytes(size), recipient)


def _data_key(
    service: Service,
    caller: Principal,
    body: inputs.Body,
    operation: str,
    recipient: Recipient | None,
) -> tuple[Key, bytes, dict[str, Any]]:
    named, pairs = inputs.text(body, "KeyId"), inputs.pairs(body, "EncryptionContext")
    size = _data_key_size(body)
    key = service.find(named)
    service.authorize(
        caller, operation, key, named=named, encryption_context=pairs, recipient=recipient
    )
    service.require_usable(key)
    _stop_dry_run(body)
    plaintext = secrets.token_bytes(size)
    blob = seal(key.key_id, key.material, plaintext, pairs)
    return key, plaintext, {"CiphertextBlob": inputs.encode(blob), "KeyId": key.arn}


def _data_key_size(body: inputs.Body) -> int:
    spec = inputs.text(body, "KeySpec", default="", shortest=0, choices=("", *_SPECS))
    size = inputs.integer(body, "NumberOfBytes", least=1, most=1024)
    if bool(spec) == (size is not None):
        raise errors.invalid("Please specify either number of bytes or key spec.")
    return size if size is not None else _SPECS[spec]


def _algorithm(body: inputs.Body) -> None:
    if inputs.text(body, "EncryptionAlgorithm", default=_ALGORITHM) != _ALGORITHM:
        raise errors.KmsError(
            "InvalidKeyUsageException", "The dev KMS has symmetric encryption keys only."
        )


def _document(body: inputs.Body) -> bytes | None:
    given = inputs.structure(body, "Recipient")
    if given is None:
        return None
    inputs.text(given, "KeyEncryptionAlgorithm", choices=("RSAES_OAEP_SHA_256",))
    return inputs.blob(given, "AttestationDocument", longest=_MAX_DOCUMENT)


def _recipient(service: Service, document: bytes | None) -> Recipient | None:
    if document is None:
        return None
    return verify_recipient(document, root=service.root, now=service.now())


def _release(plaintext: bytes, recipient: Recipient | None) -> dict[str, Any]:
    """Answer in plain, or for the recipient only: never both."""
    if recipient is None:
        return {"Plaintext": inputs.encode(plaintext)}
    return {"CiphertextForRecipient": inputs.encode(cms.envelop(recipient.public_key, plaintext))}


def _stop_dry_run(body: inputs.Body) -> None:
    if inputs.boolean(body, "DryRun"):
        raise errors.KmsError(
            "DryRunOperationException",
            "The request would have succeeded, but the DryRun option is set.",
            412,
        )
