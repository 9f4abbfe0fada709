"""Opening envelopes in the enclave, with the real dev KMS, and with one that only counts."""

from __future__ import annotations

import io
import logging
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import aws_encryption_sdk
import pytest
from aws_encryption_sdk.identifiers import AlgorithmSuite, CommitmentPolicy
from aws_encryption_sdk.key_providers.kms import KMSMasterKey, StrictAwsKmsMasterKeyProvider
from aws_encryption_sdk.materials_managers import EncryptionMaterials
from aws_encryption_sdk.materials_managers.base import CryptoMaterialsManager
from aws_encryption_sdk.structures import DataKey, EncryptedDataKey, MasterKeyInfo
from hypothesis import given, settings
from hypothesis import strategies as st

from blindgate.envelope import encryption_sdk, sample_file
from blindgate.envelope.sample_file import SampleFile
from enclave_app.envelopes import opening
from enclave_app.envelopes.data_key_cache import CacheLimits, DataKeyCache
from enclave_app.envelopes.opening import EnvelopeRejected, Unsealer, UnsealSettings
from enclave_app.kms.bulkhead import KmsTurns
from enclave_app.kms.client import UnwrappedKey
from enclave_app.kms.errors import KmsRefused, KmsUnavailable
from tests.blindgate.envelope.messages import Writer
from tests.enclave_app.conftest import Attested
from tests.kms_fixtures import RunningKms

ARN = "arn:aws:kms:us-east-1:111122223333:key/11111111-2222-3333-4444-555555555555"
SECOND = "arn:aws:kms:us-east-1:111122223333:key/22222222-2222-3333-4444-555555555555"
CONTEXT = {"purpose": "blindgate"}
PHOTO = os.urandom(300_000)
KEY = bytes(range(32))
COMMITTING = [
    AlgorithmSuite.AES_256_GCM_HKDF_SHA512_COMMIT_KEY,
    AlgorithmSuite.AES_256_GCM_HKDF_SHA512_COMMIT_KEY_ECDSA_P384,
]


class CountingKms:
    """Releases one key, and remembers what it was asked."""

    def __init__(self, key: bytes = KEY, failure: Exception | None = None) -> None:
        self.key = key
        self.failure = failure
        self.asked: list[tuple[bytes, dict[str, str], str]] = []
        self.callers: list[bytes | None] = []

    def unwrap(
        self,
        ciphertext_blob: bytes,
        encryption_context: Mapping[str, str],
        key_arn: str,
        *,
        caller: bytes | None = None,
    ) -> UnwrappedKey:
        self.callers.append(caller)
        self.asked.append((ciphertext_blob, dict(encryption_context), key_arn))
        if self.failure is not None:
            raise self.failure
        return UnwrappedKey(self.key, (f"request {len(self.asked)}",))


class InOrder(set[EncryptedDataKey]):
    """The library wants a set; the order in which it writes one is a test's choice."""

    def __init__(self, keys: Sequence[EncryptedDataKey]) -> None:
        super().__init__(keys)
        self._keys = keys

    def __iter__(self) -> Iterator[EncryptedDataKey]:
        return iter(self._keys)


class Wrapping(CryptoMaterialsManager):  # type: ignore[misc]
    """Writes messages whose wrapped keys say whatever a test wants."""

    def __init__(
        self,
        arn: str = ARN,
        provider: str = "aws-kms",
        blob: bytes = b"wrapped",
        copies: int = 1,
        context: Mapping[str, str] | None = None,
        keys: Sequence[EncryptedDataKey] | None = None,
    ) -> None:
        self.info = MasterKeyInfo(provider, arn)
        if keys is None:
            keys = [EncryptedDataKey(self.info, blob + b"%d" % n) for n in range(copies)]
        self.keys = InOrder(keys)
        self.blob = blob
        self.context = context

    def get_encryption_materials(self, request: Any) -> EncryptionMaterials:
        context = request.encryption_context if self.context is None else self.context
        return EncryptionMaterials(
            algorithm=request.algorithm,
            data_encryption_key=DataKey(self.info, KEY, self.blob),
            encrypted_data_keys=self.keys,
            encryption_context=dict(context),
        )

    def decrypt_materials(self, request: Any) -> Any:
        raise AssertionError


def message(
    content: bytes = PHOTO,
    *,
    context: Mapping[str, str] = CONTEXT,
    frame: int = 4096,
    suite: AlgorithmSuite = COMMITTING[0],
    policy: CommitmentPolicy = CommitmentPolicy.REQUIRE_ENCRYPT_REQUIRE_DECRYPT,
    **wrapping: Any,
) -> bytes:
    """A message that only differs from a right one where a test says so."""
    sdk = aws_encryption_sdk.EncryptionSDKClient(commitment_policy=policy)
    written, _ = sdk.encrypt(
        source=content,
        materials_manager=Wrapping(**wrapping),
        encryption_context=dict(context),
        algorithm=suite,
        frame_length=frame,
    )
    return bytes(written)


def wrapped(arn: str, provider: str = "aws-kms", blob: bytes = b"for us") -> EncryptedDataKey:
    """One of the wrapped data keys of a message."""
    return EncryptedDataKey(MasterKeyInfo(provider, arn), blob)


def unsealer(kms: CountingKms | None = None, **changes: Any) -> Unsealer:
    """An unsealer for one key, that opens both formats."""
    options: dict[str, Any] = {"key_arns": (ARN,), "encryption_context": CONTEXT} | changes
    return Unsealer(UnsealSettings(sample_files=True, **options), kms or CountingKms())


def sample(content: bytes = PHOTO, blob: bytes = b"wrapped", key: bytes = KEY) -> bytes:
    return SampleFile(blob, sample_file.seal(key, content)).encode()


MESSAGE = message()
SAMPLE = sample()
SMALL = message(b"a small photo")


# With real KMS answers --------------------------------------------------------------------------


@pytest.fixture
def attested(attest: Callable[..., Attested]) -> tuple[Unsealer, Attested]:
    worker = attest()
    settings = UnsealSettings((worker.key_arn, worker.other_arn), CONTEXT, sample_files=True)
    return Unsealer(settings, KmsTurns(worker.client)), worker


def test_what_our_client_encrypts_is_opened(
    kms: RunningKms, attested: tuple[Unsealer, Attested]
) -> None:
    opener, worker = attested
    written = encryption_sdk.encrypt(PHOTO, kms=kms.client("client"), key_id=worker.key_arn)
    assert opener.open(written) == PHOTO


@pytest.mark.parametrize("suite", COMMITTING)
def test_messages_of_the_stock_library_under_a_kms_key_are_opened(
    kms: RunningKms, attested: tuple[Unsealer, Attested], suite: AlgorithmSuite
) -> None:
    opener, worker = attested
    written, _ = aws_encryption_sdk.EncryptionSDKClient().encrypt(
        source=PHOTO,
        key_provider=KMSMasterKey(key_id=worker.key_arn, client=kms.client("client")),
        encryption_context={**CONTEXT, "department": "radiology"},
        algorithm=suite,
    )
    assert opener.open(written) == PHOTO


def test_messages_of_the_stock_provider_with_its_own_client_are_opened(
    kms: RunningKms, attested: tuple[Unsealer, Attested], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a user's own program would do it, pointed at the dev KMS by AWS's usual variables."""
    opener, worker = attested
    who = kms.principals["client"]
    monkeypatch.setenv("AWS_ENDPOINT_URL_KMS", kms.endpoint)
    monkeypatch.setenv("AWS_CA_BUNDLE", str(kms.certificates.ca))
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", who.access_key_id)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", who.secret_access_key)
    monkeypatch.delenv("AWS_SESSION_TOKEN", raising=False)
    provider = aws_encryption_sdk.StrictAwsKmsMasterKeyProvider(key_ids=[worker.key_arn])
    written, _ = aws_encryption_sdk.EncryptionSDKClient().encrypt(
        source=io.BytesIO(PHOTO), key_provider=provider, encryption_context=CONTEXT
    )
    for client in provider._regional_clients.values():
        client.close()
    assert opener.open(written) == PHOTO


@pytest.mark.parametrize("which", ["key_arn", "other_arn"])
def test_the_aws_samples_files_are_opened_under_each_pinned_key(
    kms: RunningKms, attested: tuple[Unsealer, Attested], which: str
) -> None:
    opener, worker = attested
    data_key = kms.client("client").generate_data_key(
        KeyId=getattr(worker, which), KeySpec="AES_256"
    )
    written = sample(blob=data_key["CiphertextBlob"], key=data_key["Plaintext"])
    assert opener.open(written) == PHOTO
    assert opener.open(memoryview(written)) == PHOTO


def test_another_image_is_refused_by_kms(kms: RunningKms, attest: Callable[..., Attested]) -> None:
    worker = attest(image="green")
    opener = Unsealer(UnsealSettings((worker.key_arn,), CONTEXT), KmsTurns(worker.client))
    written = encryption_sdk.encrypt(PHOTO, kms=kms.client("client"), key_id=worker.key_arn)
    with pytest.raises(KmsRefused):
        opener.open(written)


def test_a_wrapped_key_moved_into_another_message_is_refused(
    kms: RunningKms, attested: tuple[Unsealer, Attested]
) -> None:
    """Its wrapping names another context, and KMS authenticates that."""
    opener, worker = attested
    stolen = kms.client("client").generate_data_key(
        KeyId=worker.key_arn, KeySpec="AES_256", EncryptionContext={"purpose": "payroll"}
    )
    with pytest.raises(KmsRefused):
        opener.open(message(arn=worker.key_arn, blob=stolen["CiphertextBlob"]))


# What is asked of KMS ----------------------------------------------------------------------------


def test_kms_is_asked_with_the_whole_context_of_the_message() -> None:
    kms = CountingKms()
    context = {**CONTEXT, "department": "radiology"}
    assert unsealer(kms).open(message(context=context, copies=1)) == PHOTO
    assert kms.asked == [(b"wrapped0", context, ARN)]


def test_a_reused_data_key_costs_no_call() -> None:
    kms = CountingKms()
    opener = unsealer(kms)
    for n in range(5):
        assert opener.open(message(b"photo %d" % n)) == b"photo %d" % n
        assert opener.open(sample(b"photo %d" % n)) == b"photo %d" % n
    assert len(kms.asked) == 2


def test_the_bounds_of_the_cache_hold() -> None:
    kms = CountingKms()
    opener = unsealer(kms, cache=CacheLimits(max_uses=2))
    for _ in range(4):
        opener.open(SMALL)
    assert len(kms.asked) == 2


@pytest.mark.parametrize(
    "other",
    [
        message(b"x", blob=b"another"),
        message(b"x", context={**CONTEXT, "department": "radiology"}),
        message(b"x", arn=SECOND),
        sample(b"x", blob=b"wrapped0"),
    ],
)
def test_a_cached_key_serves_for_nothing_but_the_same_question(other: bytes) -> None:
    kms = CountingKms()
    opener = unsealer(kms, key_arns=(ARN, SECOND))
    opener.open(message(b"x"))
    opener.open(other)
    assert len(kms.asked) == 2


def test_a_refused_envelope_costs_one_call_for_a_while() -> None:
    kms, now = CountingKms(failure=KmsRefused(("request 1",))), 0.0
    cache = DataKeyCache(CacheLimits(), clock=lambda: now)
    opener = Unsealer(UnsealSettings((ARN,), CONTEXT, sample_files=True), kms, cache)
    calls: list[str] = []
    for _ in range(4):
        with pytest.raises(KmsRefused):
            opener.open(MESSAGE, kms_calls=calls)
    assert calls == ["request 1"], "further calls were not made"
    assert len(kms.asked) == 1
    kms.failure = None
    assert opener.open(SAMPLE) == PHOTO, "another wrapped key is asked about"
    now = 10.0
    assert opener.open(MESSAGE) == PHOTO


def test_an_unavailable_kms_is_asked_again_immediately() -> None:
    kms = CountingKms(failure=KmsUnavailable())
    opener = unsealer(kms)
    with pytest.raises(KmsUnavailable):
        opener.open(MESSAGE)
    kms.failure = None
    assert opener.open(MESSAGE) == PHOTO


def test_an_unavailable_kms_is_not_asked_under_the_next_key() -> None:
    """A sample file names no key, so each pinned one is tried; not while KMS does not answer."""
    kms = CountingKms(failure=KmsUnavailable())
    with pytest.raises(KmsUnavailable):
        unsealer(kms, key_arns=(ARN, SECOND)).open(SAMPLE)
    assert [arn for _, _, arn in kms.asked] == [ARN]


def test_a_sample_file_is_tried_under_each_key_until_one_opens_it() -> None:
    class SecondOnly(CountingKms):
        def unwrap(self, *given: Any, **named: Any) -> UnwrappedKey:
            released = super().unwrap(*given, **named)
            if given[2] == ARN:
                raise KmsRefused(("refused",))
            return released

    kms = SecondOnly()
    calls: list[str] = []
    assert unsealer(kms, key_arns=(ARN, SECOND)).open(SAMPLE, kms_calls=calls) == PHOTO
    assert calls == ["refused", "request 2"]
    assert [arn for _, _, arn in kms.asked] == [ARN, SECOND]


def test_calls_for_an_envelope_that_is_rejected_after_them_are_named() -> None:
    forged = bytearray(MESSAGE)
    forged[-1] ^= 1
    opener, calls = unsealer(CountingKms()), list[str]()
    with pytest.raises(EnvelopeRejected):
        opener.open(forged, kms_calls=calls)
    assert calls == ["request 1"]
    assert opener.open(MESSAGE, kms_calls=calls) == PHOTO
    assert calls == ["request 1"], "the cached key takes no call"


def test_kms_is_asked_for_the_caller() -> None:
    kms = CountingKms()
    opener = unsealer(kms)
    opener.open(MESSAGE, caller=b"caller of a message")
    opener.open(SAMPLE, caller=b"caller of a file")
    assert kms.callers == [b"caller of a message", b"caller of a file"]


OTHERS = [
    wrapped(SECOND, blob=b"for another key"),
    wrapped("key on paper", "raw", b"for a raw key"),
    wrapped(ARN, "aws-kms-hierarchy", b"for another provider"),
    wrapped("schl\u00fcssel", blob=b"for a name beyond ASCII"),
    wrapped(ARN.replace("us-east-1", "eu-west-1"), blob=b"x" * 7000),
    wrapped(ARN + "0", blob=b"for a longer name"),
    wrapped(ARN[:-1], blob=b"for a shorter name"),
]


@pytest.mark.parametrize("at", range(len(OTHERS) + 1))
def test_the_wrapped_key_that_is_pinned_is_asked_for_and_no_other(at: int) -> None:
    kms = CountingKms()
    keys = [*OTHERS[:at], wrapped(ARN), *OTHERS[at:]]
    assert len(keys) == 8
    assert unsealer(kms).open(message(keys=keys)) == PHOTO
    assert kms.asked == [(b"for us", CONTEXT, ARN)]


@pytest.mark.parametrize("turned", [False, True])
def test_of_two_pinned_keys_the_first_of_the_configuration_is_asked(turned: bool) -> None:
    kms = CountingKms()
    keys = [wrapped(SECOND, blob=b"second"), wrapped(ARN, blob=b"first")]
    envelope = message(keys=keys[::-1] if turned else keys)
    assert unsealer(kms, key_arns=(ARN, SECOND)).open(envelope) == PHOTO
    assert unsealer(kms, key_arns=(SECOND, ARN)).open(envelope) == PHOTO
    assert [arn for _, _, arn in kms.asked] == [ARN, SECOND]


def test_two_wrapped_keys_under_one_pinned_key_cost_one_call() -> None:
    kms = CountingKms()
    assert unsealer(kms).open(message(copies=2)) == PHOTO
    assert len(kms.asked) == 1


@pytest.mark.parametrize("ours_first", [True, False])
def test_a_message_under_the_owner_s_key_too_is_opened(
    kms: RunningKms, attested: tuple[Unsealer, Attested], ours_first: bool
) -> None:
    _, worker = attested
    opener = Unsealer(UnsealSettings((worker.key_arn,), CONTEXT), KmsTurns(worker.client))
    keys = [worker.key_arn, worker.other_arn]

    class Provider(StrictAwsKmsMasterKeyProvider):  # type: ignore[misc]
        def _client(self, key_id: str) -> Any:
            return kms.client("client")

    provider = Provider(key_ids=keys if ours_first else keys[::-1])
    written, _ = aws_encryption_sdk.EncryptionSDKClient().encrypt(
        source=PHOTO, key_provider=provider, encryption_context=CONTEXT
    )
    assert opener.open(written) == PHOTO


def test_another_s_wrapped_key_among_several_opens_nothing(
    kms: RunningKms, attested: tuple[Unsealer, Attested]
) -> None:
    """Who may encrypt puts a stolen wrapped key of ours beside a key of their own."""
    opener, worker = attested
    stolen = kms.client("client").generate_data_key(
        KeyId=worker.key_arn, KeySpec="AES_256", EncryptionContext={"purpose": "payroll"}
    )
    keys = [wrapped(SECOND), wrapped(worker.key_arn, blob=stolen["CiphertextBlob"])]
    with pytest.raises(KmsRefused):
        opener.open(message(keys=keys))


@pytest.mark.parametrize("envelope", [MESSAGE, SAMPLE])
@pytest.mark.parametrize("failure", [KmsUnavailable(), KmsRefused(), RuntimeError("the NSM")])
def test_what_kms_or_the_security_module_says_is_told_apart(
    envelope: bytes, failure: Exception
) -> None:
    with pytest.raises(type(failure)) as caught:
        unsealer(CountingKms(failure=failure)).open(envelope)
    assert caught.value is failure


# What is not opened ------------------------------------------------------------------------------


def changed(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


REJECTED_BEFORE_KMS = {
    "nothing": b"",
    "random bytes": os.urandom(1000),
    "a photo": b"\xff\xd8\xff\xe0" + PHOTO,
    "another key": message(arn=SECOND),
    "an alias": message(arn="arn:aws:kms:us-east-1:111122223333:alias/blindgate"),
    "no ARN": message(arn="schl\u00fcssel"),
    "another provider": message(provider="raw"),
    "nine wrapped keys": message(copies=9),
    "eight wrapped keys of others": message(
        keys=[wrapped(f"{SECOND}{n}") for n in range(4)] + [wrapped(ARN, "raw")] * 4
    ),
    "a wrapped key of ours that is empty": message(keys=[wrapped(SECOND), wrapped(ARN, blob=b"")]),
    "no wrapped key": message(copies=0),
    "no context": message(context={}),
    "the context of another": message(context={"purpose": "payroll"}),
    "a context over KMS's limit": message(context={**CONTEXT, "more": "x" * 8192}),
    "a wrapped key over KMS's limit": message(blob=b"x" * 6144),
    "a message that commits to no key": message(
        suite=AlgorithmSuite.AES_256_GCM_IV12_TAG16_HKDF_SHA256,
        policy=CommitmentPolicy.FORBID_ENCRYPT_ALLOW_DECRYPT,
    ),
    "a header cut short": MESSAGE[:60],
    "a wrapped key cut short in a sample file": SAMPLE[:8],
    "a body cut short": MESSAGE[:-1],
    "no body": MESSAGE[:200],
    "a byte behind it": MESSAGE + b"\0",
    "two messages": MESSAGE + MESSAGE,
    "frames of no length": MESSAGE.replace(b"\x02\0\0\x10\0", b"\x02\0\0\0\0", 1),
    "100,000 frames of one byte": Writer(frame=1).header + bytes(33 * 100_000),
    "a signature that the suite does not know": message(
        context={**CONTEXT, "aws-crypto-public-key": "AAAA"}
    ),
    "a signature without a key": message(suite=COMMITTING[1]),
}
REJECTED_AFTER_KMS = {
    "a changed last byte": changed(MESSAGE, len(MESSAGE) - 1),
    "a changed byte in the middle": changed(MESSAGE, len(MESSAGE) // 2),
    "a changed commitment": changed(MESSAGE, MESSAGE.index(b"\x02\0\0\x10\0") + 10),
    "a token cut short": SAMPLE[:-1],
    "a token of another key": sample(key=bytes(32)),
    "a token with a changed byte": changed(SAMPLE, len(SAMPLE) // 2),
}


@pytest.mark.parametrize("envelope", REJECTED_BEFORE_KMS.values(), ids=REJECTED_BEFORE_KMS.keys())
def test_what_kms_need_not_be_asked_about_is_rejected_without_a_call(envelope: bytes) -> None:
    kms = CountingKms()
    with pytest.raises(EnvelopeRejected):
        unsealer(kms).open(envelope)
    assert kms.asked == []


@pytest.mark.parametrize("envelope", REJECTED_AFTER_KMS.values(), ids=REJECTED_AFTER_KMS.keys())
def test_every_rejection_looks_the_same(envelope: bytes) -> None:
    with pytest.raises(EnvelopeRejected) as caught:
        unsealer().open(envelope)
    assert str(caught.value) == "the envelope could not be opened"
    assert caught.value.args == ("the envelope could not be opened",)
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None


def test_a_data_key_of_another_length_is_rejected() -> None:
    for envelope in (MESSAGE, SAMPLE):
        with pytest.raises(EnvelopeRejected):
            unsealer(CountingKms(key=KEY[:16])).open(envelope)


def test_a_wrong_data_key_is_rejected() -> None:
    for envelope in (MESSAGE, SAMPLE):
        with pytest.raises(EnvelopeRejected):
            unsealer(CountingKms(key=bytes(32))).open(envelope)


def test_sample_files_are_opened_only_where_the_configuration_allows() -> None:
    kms = CountingKms()
    closed = Unsealer(UnsealSettings((ARN,), CONTEXT), kms)
    with pytest.raises(EnvelopeRejected):
        closed.open(SAMPLE)
    assert kms.asked == []


def test_a_message_in_very_many_frames_is_not_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opening, "MAX_FRAMES", 16)
    assert unsealer().open(message(bytes(128 * 10), frame=128)) == bytes(128 * 10)
    with pytest.raises(EnvelopeRejected):
        unsealer().open(message(bytes(128 * 20), frame=128))


def test_an_envelope_over_the_limit_is_not_looked_at() -> None:
    kms = CountingKms()
    with pytest.raises(EnvelopeRejected):
        unsealer(kms, max_bytes=len(MESSAGE) - 1).open(MESSAGE)
    assert kms.asked == []


@given(st.binary(max_size=300))
def test_any_bytes_are_rejected(data: bytes) -> None:
    with pytest.raises(EnvelopeRejected):
        unsealer().open(data)


@given(st.integers(0, len(SMALL) - 1), st.integers(1, 255))
@settings(max_examples=200)
def test_a_changed_byte_anywhere_is_rejected(at: int, flip: int) -> None:
    flipped = bytearray(SMALL)
    flipped[at] ^= flip
    kms = CountingKms()
    # A KMS that hands out the key for every question: the message must notice by itself.
    opener = unsealer(kms)
    try:
        opener.open(flipped)
    except EnvelopeRejected:
        return
    raise AssertionError


# How it is opened --------------------------------------------------------------------------------


@pytest.mark.parametrize("envelope", [MESSAGE, MESSAGE[:-1], SAMPLE, b"\x02\x05junk"])
def test_nobody_looks_at_an_envelope_after_it_was_opened(envelope: bytes) -> None:
    memory = bytearray(envelope)
    with suppress(EnvelopeRejected):
        unsealer().open(memoryview(memory))
    memory.append(0)  # which fails while somebody looks at it


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_every_buffer_is_opened(kind: Callable[[bytes], Any]) -> None:
    assert unsealer().open(kind(MESSAGE)) == PHOTO
    assert unsealer().open(kind(SAMPLE)) == PHOTO


@pytest.mark.parametrize("size", [0, 1, 4095, 4096, 4097, 300_000])
@pytest.mark.parametrize("frame", [0, 4096, 65_536])
def test_every_size_and_framing_is_opened(size: int, frame: int) -> None:
    assert unsealer().open(message(PHOTO[:size], frame=frame)) == PHOTO[:size]


def test_a_message_in_writable_memory_is_opened_where_it_lies() -> None:
    memory = bytearray(MESSAGE)
    content = unsealer().open(memory)
    assert isinstance(content, memoryview)
    assert content.obj is memory
    assert content == PHOTO


@pytest.mark.parametrize("kind", [bytes, memoryview])
def test_memory_that_cannot_be_written_to_stays_as_it_is(kind: Callable[[bytes], Any]) -> None:
    envelope = kind(MESSAGE)
    for _ in range(2):
        assert unsealer().open(envelope) == PHOTO
    assert bytes(envelope) == MESSAGE


def test_memory_is_not_touched_before_kms_has_answered() -> None:
    memory = bytearray(MESSAGE)
    with pytest.raises(KmsUnavailable):
        unsealer(CountingKms(failure=KmsUnavailable())).open(memory)
    assert memory == MESSAGE


def test_many_threads_open_at_once() -> None:
    kms = CountingKms()
    opener = unsealer(kms)
    envelopes = [message(b"photo %d" % n * 1000) for n in range(8)]
    with ThreadPoolExecutor(8) as pool:
        opened = list(pool.map(opener.open, envelopes * 4))
    assert opened == [b"photo %d" % n * 1000 for n in range(8)] * 4
    assert len(kms.asked) == 1


def test_nothing_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    opener = unsealer()
    opener.open(MESSAGE)
    for envelope in [*REJECTED_BEFORE_KMS.values(), *REJECTED_AFTER_KMS.values()]:
        with pytest.raises(EnvelopeRejected):
            opener.open(envelope)
    assert caplog.text == ""
