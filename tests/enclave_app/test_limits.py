"""The worker's numbers, as documents and other programs rely on them.

They are written out here once more on purpose: tests of a limit that import it pass whatever it is.
"""

from __future__ import annotations

import pytest

from blindgate.envelope import message_header
from enclave_app import limits
from enclave_app.envelopes import data_key_cache, opening
from enclave_app.handlers import ohttp
from enclave_app.keys import keyring, replay_window
from enclave_app.kms import bulkhead, client, cms, credentials, recipient_keys, transport
from enclave_app.nsm import hardware
from enclave_app.scheduling import fair_share

KIB = 1024
MIB = 1024 * 1024


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        pytest.param(limits.COPIES_OF_A_BODY, 2, id="copies of a body"),
        pytest.param(limits.BASE_BYTES, 224 * MIB, id="the worker itself"),
        pytest.param(limits.ACCEPT_PAUSE_SECONDS, 0.1, id="pause of accept"),
        pytest.param(limits.CREDENTIALS_BYTES, 16 * KIB, id="pushed credentials"),
        pytest.param((limits.NONCE_BYTES[0], limits.NONCE_BYTES[-1]), (16, 64), id="nonce"),
        pytest.param(limits.DRAIN_SECONDS, 30, id="drain"),
        pytest.param(limits.WRITE_BYTES, 256 * KIB, id="one write"),
        pytest.param(limits.KEPT_BODY_BYTES, 12 * MIB, id="kept memory"),
        pytest.param(limits.STALL_SECONDS, 30, id="stalled peer"),
        pytest.param(credentials.DUE_BEFORE_EXPIRY, 300, id="credentials due"),
        pytest.param(data_key_cache.REFUSED_SECONDS, 10, id="remembered refusal"),
        pytest.param(data_key_cache.REFUSALS, 1024, id="remembered refusals"),
        pytest.param(fair_share.TIMES_FREE, 3, id="share of a caller"),
        pytest.param(keyring.LIFETIME_S, 24 * 3600, id="lifetime of keys"),
        pytest.param(keyring.OVERLAP_S, 2 * 3600, id="overlap of keys"),
        pytest.param(keyring.MAX_GENERATIONS, 3, id="generations"),
        pytest.param(replay_window.CAPACITY, 262_144, id="replay cache"),
        pytest.param((ohttp.DATE_PAST_S, ohttp.DATE_FUTURE_S), (300, 60), id="Date window"),
        pytest.param(ohttp.MAX_QUERY_FIELDS, 128, id="query fields"),
        pytest.param(opening.MAX_BLOB_BYTES, 6144, id="wrapped key of an envelope"),
        pytest.param(message_header.MAX_CONTEXT_BYTES, 8192, id="encryption context"),
        pytest.param(message_header.MAX_DATA_KEYS, 8, id="wrapped keys"),
        pytest.param(message_header.MAX_FRAMES, 16_384, id="frames"),
        pytest.param(opening.MAX_ENVELOPE_BYTES, 256 * MIB, id="envelope"),
        pytest.param(client.MAX_CIPHERTEXT_BLOB, 6144, id="wrapped key for KMS"),
        pytest.param(client.CALL_SECONDS, 8, id="call to KMS"),
        pytest.param(client.MAX_ATTEMPTS, 4, id="attempts"),
        pytest.param(client.BACKOFF_SECONDS, 0.05, id="first pause"),
        pytest.param(client.BACKOFF_CAP_SECONDS, 1, id="longest pause"),
        pytest.param(client.CREDENTIALS_SECONDS, 3, id="wait for credentials"),
        pytest.param(client.UPKEEP_SECONDS, 5, id="upkeep"),
        pytest.param(cms.MAX_BYTES, 6144, id="KMS's CMS"),
        pytest.param(recipient_keys.KEY_BITS, 2048, id="RSA"),
        pytest.param(recipient_keys.MAX_AGE_SECONDS, 3600, id="age of an RSA key"),
        pytest.param(recipient_keys.MAX_USES, 10_000, id="uses of an RSA key"),
        pytest.param(transport.MAX_CONNECTIONS, 8, id="connections to KMS"),
        pytest.param(transport.IDLE_SECONDS, 30, id="idle connection"),
        pytest.param(transport.CONNECT_SECONDS, 2, id="connect"),
        pytest.param(transport.READ_SECONDS, 3, id="read"),
        pytest.param(transport.MAX_ANSWER_BYTES, 16 * KIB, id="answer of KMS"),
        pytest.param((bulkhead.WAITING, bulkhead.PATIENCE), (8, 0.5), id="turns at KMS"),
        pytest.param(hardware.OLDEST_KERNEL, (5, 18), id="kernel"),
        pytest.param(hardware.SEED_BYTES, 256, id="seed"),
    ],
)
def test_a_number_is_what_it_was_when_it_was_reasoned_about(
    found: object, expected: object
) -> None:
    assert found == expected
