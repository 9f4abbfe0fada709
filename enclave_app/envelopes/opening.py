"""Opening envelopes: the data key from KMS, attested, and then the content.

Nothing of what is opened leaves before all of it is authenticated, and every way of failing looks
the same from outside. What KMS itself says (it refused, it is away) is told apart, since the
parent sees that call anyway.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final, Protocol

from aws_encryption_sdk.exceptions import ActionNotAllowedError, MasterKeyError
from aws_encryption_sdk.identifiers import CommitmentPolicy, ContentType
from aws_encryption_sdk.internal.crypto.authentication import Verifier
from aws_encryption_sdk.internal.defaults import ENCODED_SIGNER_KEY
from aws_encryption_sdk.materials_managers import DecryptionMaterials
from aws_encryption_sdk.materials_managers.base import CryptoMaterialsManager
from aws_encryption_sdk.streaming_client import StreamDecryptor
from aws_encryption_sdk.structures import DataKey

from blindgate.envelope import sample_file
from blindgate.envelope.context import contains
from blindgate.envelope.recognise import EnvelopeKind, recognise
from blindgate.errors import BlindgateError
from enclave_app.envelopes.data_key_cache import CacheLimits, DataKeyCache
from enclave_app.envelopes.memoryview_file import ViewFile
from enclave_app.kms.errors import KmsRefused

#: The largest envelope; its plaintext is always smaller. The measured body limit is below it.
MAX_ENVELOPE_BYTES: Final = 256 * 1024 * 1024
#: The longest CiphertextBlob and encryption context that KMS takes (API reference of Decrypt).
MAX_BLOB_BYTES: Final = 6144
MAX_CONTEXT_BYTES: Final = 8192
#: A message's data key, wrapped once for each of its readers: more than a message for some parties
#: and their archives has, few enough that a header stays small.
MAX_DATA_KEYS: Final = 8
#: Twice the frames of the largest default body (32 MiB) in the default frames (4 KiB). Each costs
#: 20 µs whatever its length, so a message in frames of one byte would burn a core for 20 seconds.
MAX_FRAMES: Final = 16_384
#: The library copies what is left of a frame for each line, and lines for each frame: reading by
#: this much keeps both small for frames of 4 KiB and for a message of one frame.
LINE_BYTES: Final = 256 * 1024

_KMS_PROVIDER: Final = "aws-kms"

# It writes out encryption contexts and tracebacks of failures, which say why.
logging.getLogger("aws_encryption_sdk").setLevel(logging.CRITICAL)


class EnvelopeRejected(BlindgateError):
    """The envelope could not be opened. There is one text for all reasons."""

    def __init__(self) -> None:
        super().__init__("the envelope could not be opened")


class ReleasesKeys(Protocol):
    """The one thing that opening needs of KMS."""

    def decrypt(
        self,
        ciphertext_blob: bytes,
        encryption_context: Mapping[str, str],
        key_arn: str,
        *,
        caller: bytes | None = None,
    ) -> bytes:
        """Return the data key, or raise KmsRefused or KmsUnavailable."""


class _Release(Protocol):
    """Gets a data key from the cache or from KMS, for one message."""

    def __call__(
        self, blob: bytes, context: Mapping[str, str], key_arns: tuple[str, ...], /
    ) -> bytes:
        """Return the data key that one of these KMS keys wraps."""


@dataclass(frozen=True, slots=True)
class UnsealSettings:
    """What the measured configuration says about envelopes.

    Attributes:
        key_arns: The only keys whose wrapped data keys are taken to KMS.
        encryption_context: Pairs that every message must carry.
        sample_files: Whether the AWS sample's layout is opened, which carries none.
        cache: How long a released data key may serve.
        max_bytes: The largest envelope.
    """

    key_arns: tuple[str, ...]
    encryption_context: Mapping[str, str]
    sample_files: bool = False
    cache: CacheLimits = field(default_factory=CacheLimits)
    max_bytes: int = MAX_ENVELOPE_BYTES


class Unsealer:
    """Opens envelopes of both formats. Safe for any number of threads.

    Args:
        settings: From the measured configuration.
        kms: Releases data keys.
        cache: Where they are kept; a new one within the settings' bounds if left out.
    """

    def __init__(
        self, settings: UnsealSettings, kms: ReleasesKeys, cache: DataKeyCache | None = None
    ) -> None:
        self._settings = settings
        self._kms = kms
        self._cache = DataKeyCache(settings.cache) if cache is None else cache

    def open(
        self, envelope: bytes | bytearray | memoryview, *, caller: bytes | None = None
    ) -> bytes | memoryview:
        """Open one envelope.

        Args:
            envelope: An AWS Encryption SDK message, or a file as the AWS sample writes it.
            caller: The gateway's tag of the client that asks, for its share of the calls to KMS.

        Returns:
            The content, all of it authenticated.

        Raises:
            EnvelopeRejected: Whatever is wrong with it.
            KmsRefused: KMS does not release its data key to this enclave.
            KmsUnavailable: KMS did not answer.
        """
        fits = len(envelope) <= self._settings.max_bytes
        opened = self._open(envelope, caller) if fits else None
        if opened is None:
            # Outside of every `except`, so that no cause or context hangs on it.
            raise EnvelopeRejected
        return opened

    def _open(
        self, envelope: bytes | bytearray | memoryview, caller: bytes | None
    ) -> bytes | memoryview | None:
        kind = recognise(envelope)
        release = partial(self._release, size=len(envelope), caller=caller)
        if kind is EnvelopeKind.ENCRYPTION_SDK:
            return self._open_message(envelope, release)
        if kind is EnvelopeKind.SAMPLE_FILE and self._settings.sample_files:
            return self._open_sample(envelope, release)
        return None

    def _open_message(
        self, envelope: bytes | bytearray | memoryview, release: _Release
    ) -> memoryview | None:
        materials = _AttestedMaterials(self._settings, release)
        try:
            with (
                ViewFile(envelope) as source,
                _Decryptor(
                    source=source,
                    materials_manager=materials,
                    commitment_policy=CommitmentPolicy.REQUIRE_ENCRYPT_REQUIRE_DECRYPT,
                    max_encrypted_data_keys=MAX_DATA_KEYS,
                    max_body_length=self._settings.max_bytes,
                ) as decryptor,
            ):
                header = decryptor.header
                framed = header.content_type is ContentType.FRAMED_DATA
                if framed and header.frame_length * MAX_FRAMES < len(envelope):
                    return None
                content = _read_all(decryptor, len(envelope))
                complete = hasattr(decryptor, "footer") and source.tell() == len(envelope)
        except Exception:  # noqa: BLE001  whatever a hostile message makes the library raise
            if materials.failure is not None:
                raise materials.failure from None
            return None
        return content if complete else None

    def _open_sample(
        self, envelope: bytes | bytearray | memoryview, release: _Release
    ) -> bytes | None:
        try:
            file = sample_file.parse(envelope)
        except sample_file.SampleFileError:
            return None
        data_key = release(file.ciphertext_blob, {}, self._settings.key_arns)
        try:
            return sample_file.unseal(data_key, file.token)
        except sample_file.SampleFileError:
            return None

    def _release(
        self,
        blob: bytes,
        context: Mapping[str, str],
        key_arns: tuple[str, ...],
        *,
        size: int,
        caller: bytes | None,
    ) -> bytes:
        """A data key from the cache or KMS; the sample names no KMS key, so each has its turn."""

        def ask() -> bytes:
            for key_arn in key_arns[:-1]:
                try:
                    return self._kms.decrypt(blob, context, key_arn, caller=caller)
                except KmsRefused:
                    continue
            return self._kms.decrypt(blob, context, key_arns[-1], caller=caller)

        asked = json.dumps([key_arns, context], sort_keys=True).encode()
        name = hashlib.sha256(hashlib.sha256(asked).digest() + blob).digest()
        return self._cache.get(name, size, ask)


class _AttestedMaterials(CryptoMaterialsManager):  # type: ignore[misc]
    """Gets the data key of one message for the library: only pinned keys, only our context."""

    def __init__(self, settings: UnsealSettings, release: _Release) -> None:
        self._settings = settings
        self._release = release
        #: What getting the key raised: the library must not turn it into something else.
        self.failure: Exception | None = None

    def get_encryption_materials(self, request: Any) -> Any:  # noqa: ARG002
        """The enclave encrypts nothing this way."""
        raise ActionNotAllowedError

    def decrypt_materials(self, request: Any) -> DecryptionMaterials:
        """Check what the message asks for, before KMS is asked, and get its data key."""
        wrapped, key_arn = self._chosen(request.encrypted_data_keys)
        context = dict(request.encryption_context)
        blob = wrapped.encrypted_data_key
        if (
            not contains(context, self._settings.encryption_context)
            or not 1 <= len(blob) <= MAX_BLOB_BYTES
            or sum(len(k.encode()) + len(v.encode()) for k, v in context.items())
            > MAX_CONTEXT_BYTES
        ):
            raise MasterKeyError
        try:
            data_key = self._release(blob, context, (key_arn,))
        except Exception as error:
            self.failure = error
            raise
        if len(data_key) != request.algorithm.data_key_len:
            raise MasterKeyError
        return DecryptionMaterials(
            data_key=DataKey(wrapped.key_provider, data_key, blob),
            verification_key=_verification_key(request),
        )

    def _chosen(self, wrapped_keys: Iterable[Any]) -> tuple[Any, str]:
        """The one wrapped data key that KMS is asked to open, whatever others the message has.

        A message holds its data key once for each key that it was encrypted under, so that each of
        several readers opens it with a key of theirs. Where two are pinned, the one that the
        configuration names first is taken: the order in the message is the writer's choice.
        """
        ours = {
            wrapped.key_provider.key_info: wrapped
            for wrapped in sorted(wrapped_keys, key=lambda each: bytes(each.encrypted_data_key))
            if wrapped.key_provider.provider_id == _KMS_PROVIDER
        }
        for key_arn in self._settings.key_arns:
            if (found := ours.get(key_arn.encode("ascii"))) is not None:
                return found, key_arn
        raise MasterKeyError


def _read_all(decryptor: StreamDecryptor, most: int) -> memoryview:
    """What `decryptor.read()` gives, in memory that is taken once instead of growing with it."""
    content, filled = memoryview(bytearray(most)), 0
    while line := decryptor.readline():
        content[filled : filled + len(line)] = line
        filled += len(line)
    return content[:filled]


def _verification_key(request: Any) -> bytes | None:
    """The signature key in the context, there exactly if the suite signs."""
    encoded = request.encryption_context.get(ENCODED_SIGNER_KEY)
    if request.algorithm.is_signing() != (encoded is not None):
        raise MasterKeyError
    if encoded is None:
        return None
    verifier = Verifier.from_encoded_point(algorithm=request.algorithm, encoded_point=encoded)
    return bytes(verifier.key_bytes())


class _Decryptor(StreamDecryptor):  # type: ignore[misc]
    """The library's decryptor, read in larger pieces, and closed without a log entry.

    The original's `close` raises if the message was not read to its end; here that is checked by
    whoever reads, and a rejected message leaves no trace in the log or at `__del__`.
    """

    line_length = LINE_BYTES

    def close(self) -> None:
        super(StreamDecryptor, self).close()
