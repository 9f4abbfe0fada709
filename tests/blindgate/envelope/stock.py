"""The stock Python library with a fixed data key: writes messages, and says what they contain."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import aws_encryption_sdk
from aws_encryption_sdk.identifiers import AlgorithmSuite, CommitmentPolicy
from aws_encryption_sdk.internal.crypto.authentication import Signer, Verifier
from aws_encryption_sdk.internal.crypto.elliptic_curve import generate_ecc_signing_key
from aws_encryption_sdk.internal.defaults import ENCODED_SIGNER_KEY
from aws_encryption_sdk.materials_managers import DecryptionMaterials, EncryptionMaterials
from aws_encryption_sdk.materials_managers.base import CryptoMaterialsManager
from aws_encryption_sdk.structures import DataKey, EncryptedDataKey, MasterKeyInfo

from tests.blindgate.envelope.messages import KEY

UNSIGNED = AlgorithmSuite.AES_256_GCM_HKDF_SHA512_COMMIT_KEY
SIGNED = AlgorithmSuite.AES_256_GCM_HKDF_SHA512_COMMIT_KEY_ECDSA_P384
#: It writes frames of multiples of this alone, and 0 for a body without frames.
FRAME_UNIT = 128
CONTEXT = {"purpose": "blindgate"}
_INFO = MasterKeyInfo("aws-kms", "arn")


class FixedKey(CryptoMaterialsManager):  # type: ignore[misc]
    """Every message is under KEY; those of a signing suite have a signing key of their own."""

    def get_encryption_materials(self, request: Any) -> EncryptionMaterials:
        context, signing_key = dict(request.encryption_context), None
        if request.algorithm.is_signing():
            signer = Signer(request.algorithm, generate_ecc_signing_key(request.algorithm))
            context[ENCODED_SIGNER_KEY] = signer.encoded_public_key().decode()
            signing_key = signer.key_bytes()
        return EncryptionMaterials(
            algorithm=request.algorithm,
            data_encryption_key=DataKey(_INFO, KEY, b"wrapped"),
            encrypted_data_keys={EncryptedDataKey(_INFO, b"wrapped")},
            encryption_context=context,
            signing_key=signing_key,
        )

    def decrypt_materials(self, request: Any) -> DecryptionMaterials:
        encoded = request.encryption_context.get(ENCODED_SIGNER_KEY)
        verification_key = None
        if request.algorithm.is_signing():
            verifier = Verifier.from_encoded_point(request.algorithm, encoded)
            verification_key = verifier.key_bytes()
        return DecryptionMaterials(
            data_key=DataKey(_INFO, KEY, b"wrapped"), verification_key=verification_key
        )


def _client() -> aws_encryption_sdk.EncryptionSDKClient:
    return aws_encryption_sdk.EncryptionSDKClient(
        commitment_policy=CommitmentPolicy.REQUIRE_ENCRYPT_REQUIRE_DECRYPT
    )


def encrypt(
    content: bytes,
    *,
    frame: int = 4096,
    suite: AlgorithmSuite = UNSIGNED,
    context: Mapping[str, str] = CONTEXT,
) -> bytes:
    written, _ = _client().encrypt(
        source=content,
        materials_manager=FixedKey(),
        encryption_context=dict(context),
        algorithm=suite,
        frame_length=frame,
    )
    return bytes(written)


def decrypt(message: bytes) -> bytes:
    """The content; raises whatever the library does if it cannot be opened."""
    content, _ = _client().decrypt(source=message, materials_manager=FixedKey())
    return bytes(content)
