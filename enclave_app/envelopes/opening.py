"""Opening envelopes: the data key from KMS, attested, and then the content.

Nothing of what is opened leaves before all of it is authenticated, and every way of failing looks
the same from outside. What KMS itself says (it refused, it is away) is told apart, since the
parent sees that call anyway.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Final, Protocol

from blindgate.envelope import sample_file
from blindgate.envelope.context import contains
from blindgate.envelope.message_body import open_body, parse_body
from blindgate.envelope.message_errors import MessageError
from blindgate.envelope.message_header import (
    MAX_CONTEXT_BYTES,
    MAX_DATA_KEYS,
    MAX_FRAMES,
    MAX_MESSAGE_BYTES,
    EncryptedDataKey,
    Header,
    Limits,
    parse_header,
)
from blindgate.envelope.recognise import EnvelopeKind, recognise
from blindgate.errors import BlindgateError
from enclave_app.envelopes.data_key_cache import CacheLimits, DataKeyCache
from enclave_app.envelopes.fernet import open_token
from enclave_app.kms.client import UnwrappedKey
from enclave_app.kms.endpoints import is_replica, region_of
from enclave_app.kms.errors import KmsError, KmsRefused, KmsUnavailable

#: The largest envelope; its plaintext is always smaller. The measured body limit is below it.
MAX_ENVELOPE_BYTES: Final = MAX_MESSAGE_BYTES
#: The longest CiphertextBlob that KMS takes (API reference of Decrypt).
MAX_BLOB_BYTES: Final = 6144

_KMS_PROVIDER: Final = "aws-kms"


class EnvelopeRejected(BlindgateError):
    """The envelope could not be opened. There is one text for all reasons."""

    def __init__(self) -> None:
        super().__init__("the envelope could not be opened")


class ReleasesKeys(Protocol):
    """The one thing that opening needs of KMS."""

    def unwrap(
        self,
        ciphertext_blob: bytes,
        encryption_context: Mapping[str, str],
        key_arn: str,
        *,
        caller: bytes | None = None,
    ) -> UnwrappedKey:
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
        key_arns: The only keys whose wrapped data keys are taken to KMS; of each Region, those of
            the one that is asked.
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
        region: Which of several measured Regions is asked; None while the parent has named none.
            It may wait. Not called where all keys are in one Region.
    """

    def __init__(
        self,
        settings: UnsealSettings,
        kms: ReleasesKeys,
        cache: DataKeyCache | None = None,
        *,
        region: Callable[[], str | None] = lambda: None,
    ) -> None:
        self._settings = settings
        self._region = region
        self._in_one_region = len(set(map(region_of, settings.key_arns))) == 1
        self._kms = kms
        self._cache = DataKeyCache(settings.cache) if cache is None else cache
        self._limits = Limits(settings.max_bytes, MAX_CONTEXT_BYTES, MAX_DATA_KEYS, MAX_FRAMES)

    def open(
        self,
        envelope: bytes | bytearray | memoryview,
        *,
        caller: bytes | None = None,
        kms_calls: list[str] | None = None,
    ) -> memoryview:
        """Open one envelope.

        Args:
            envelope: An AWS Encryption SDK message, or a file as the AWS sample writes it. In
                memory that can be written to, a message is opened where it lies: the content takes
                its place, and after an error nothing in it is of use to anybody.
            caller: The gateway's tag of the client that asks, for its share of the calls to KMS.
            kms_calls: Gets KMS's ids of the calls that this made. An argument and not part of the
                result, because they also count if the envelope is rejected after them.

        Returns:
            The content, all of it authenticated; a view of `envelope` if it was opened there.

        Raises:
            EnvelopeRejected: Whatever is wrong with it.
            KmsRefused: KMS does not release its data key to this enclave.
            KmsUnavailable: KMS did not answer.
        """
        fits = len(envelope) <= self._settings.max_bytes
        calls = [] if kms_calls is None else kms_calls
        opened = self._open(envelope, caller, calls) if fits else None
        if opened is None:
            # Outside of every `except`, so that no cause or context hangs on it.
            raise EnvelopeRejected
        return opened

    def _open(
        self, envelope: bytes | bytearray | memoryview, caller: bytes | None, calls: list[str]
    ) -> memoryview | None:
        kind = recognise(envelope)
        release = partial(self._release, size=len(envelope), caller=caller, calls=calls)
        if kind is EnvelopeKind.ENCRYPTION_SDK:
            return self._open_message(envelope, release)
        if kind is EnvelopeKind.SAMPLE_FILE and self._settings.sample_files:
            return self._open_sample(envelope, release)
        return None

    def _open_message(
        self, envelope: bytes | bytearray | memoryview, release: _Release
    ) -> memoryview | None:
        message = memoryview(envelope)
        try:
            header = parse_header(message, self._limits)
            body = parse_body(message, header)
        except MessageError:
            return None
        chosen = self._chosen(header)
        if chosen is None:
            return None
        wrapped, key_arn = chosen
        data_key = release(wrapped.ciphertext, dict(header.context), (key_arn,))
        if message.readonly:
            message = memoryview(bytearray(message))
        try:
            return open_body(message, header, body, data_key)
        except MessageError:
            return None

    def _chosen(self, header: Header) -> tuple[EncryptedDataKey, str] | None:
        """The one wrapped data key that KMS is asked to open, whatever others the message has.

        A message holds its data key once for each key that it was encrypted under, so that each of
        several readers opens it with a key of theirs. Where two are pinned, the one that the
        configuration names first is taken: the order in the message is the writer's choice. A
        message may name another Region's replica of a pinned multi-Region key: the pinned one is
        asked, which has the same key material.

        Returns:
            The wrapped data key and the ARN of its KMS key; None if no pinned key wraps it, or if
            KMS must not be asked with the message's encryption context.
        """
        if not contains(header.context, self._settings.encryption_context):
            return None
        ours = {
            wrapped.provider_info.decode("latin-1"): wrapped
            for wrapped in sorted(
                header.data_keys, key=lambda each: (each.provider_info, each.ciphertext)
            )
            if wrapped.provider_id == _KMS_PROVIDER
        }
        for key_arn in self._key_arns():
            wrapped = ours.get(key_arn) or next(
                (each for named, each in ours.items() if is_replica(named, key_arn)), None
            )
            if wrapped is not None:
                fits = 1 <= len(wrapped.ciphertext) <= MAX_BLOB_BYTES
                return (wrapped, key_arn) if fits else None
        return None

    def _key_arns(self) -> tuple[str, ...]:
        """The measured keys of the Region whose KMS is asked.

        Raises:
            KmsUnavailable: There are several Regions, and the parent has not named one.
        """
        key_arns = self._settings.key_arns
        if self._in_one_region:
            return key_arns
        region = self._region()
        if region is None:
            raise KmsUnavailable
        return tuple(arn for arn in key_arns if region_of(arn) == region)

    def _open_sample(
        self, envelope: bytes | bytearray | memoryview, release: _Release
    ) -> memoryview | None:
        try:
            file = sample_file.parse(envelope)
        except sample_file.SampleFileError:
            return None
        data_key = release(file.ciphertext_blob, {}, self._key_arns())
        try:
            return open_token(data_key, file.token)
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
        calls: list[str],
    ) -> bytes:
        """A data key from the cache or KMS; the sample names no KMS key, so each has its turn."""

        def unwrap(key_arn: str) -> bytes:
            try:
                released = self._kms.unwrap(blob, context, key_arn, caller=caller)
            except KmsError as error:
                calls.extend(error.request_ids)
                raise
            calls.extend(released.request_ids)
            return released.plaintext

        def ask() -> bytes:
            for key_arn in key_arns[:-1]:
                try:
                    return unwrap(key_arn)
                except KmsRefused:
                    continue
            return unwrap(key_arns[-1])

        asked = json.dumps([key_arns, context], sort_keys=True).encode()
        name = hashlib.sha256(hashlib.sha256(asked).digest() + blob).digest()
        return self._cache.get(name, size, ask)
