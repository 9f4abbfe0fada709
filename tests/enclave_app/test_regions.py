"""One measured configuration that serves in several Regions, and multi-Region keys."""

from __future__ import annotations

import json
import secrets
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

import cbor2
import pytest

from blindgate.link import Address
from devstack.kms.store import Key
from devstack.kms.tls import ensure_certificates
from devstack.nsm import DevRoot
from enclave_app.__main__ import _kms_settings, _unseal_settings
from enclave_app.config import EnclaveConfig, load
from enclave_app.envelopes.opening import EnvelopeRejected, Unsealer, UnsealSettings
from enclave_app.kms.bulkhead import KmsTurns
from enclave_app.kms.client import KmsClient
from enclave_app.kms.credentials import CredentialStore, RegionNotMeasured
from enclave_app.kms.endpoints import is_replica
from enclave_app.kms.errors import KmsUnavailable
from enclave_app.kms.recipient_keys import RecipientKey, RecipientKeys
from tests.enclave_app.conftest import InProcessNsm, key_policy
from tests.enclave_app.test_unseal import CONTEXT, KEY, PHOTO, CountingKms, message, sample, wrapped
from tests.kms_fixtures import Enclaves, RunningKms, people, running_kms

US, EU = "us-east-1", "eu-west-1"
MRK = "mrk-1234abcd12ab34cd56ef1234567890ab"
ONE_REGION = "11111111-2222-3333-4444-555555555555"


def arn(region: str, key_id: str, *, account: str = "111122223333", partition: str = "aws") -> str:
    return f"arn:{partition}:kms:{region}:{account}:key/{key_id}"


#: What the image lists: a multi-Region key in both Regions, and a key of one Region.
MEASURED = (arn(US, MRK), arn(US, ONE_REGION), arn(EU, MRK))


@dataclass(frozen=True)
class Deployment:
    """The same image in each of two Regions.

    Attributes:
        kms: The dev KMS of each Region.
        start: Starts a worker in a Region; its vsock-proxy leads to the KMS of another one if told.
    """

    kms: dict[str, RunningKms]
    start: Callable[..., Unsealer]


def configuration(folder: Path) -> EnclaveConfig:
    path = folder / "enclave.toml"
    path.write_text(
        'listen = "vsock://any:5000"\n[kms]\n'
        f"key_arns = {json.dumps(MEASURED)}\n"
        'address = "vsock://3:8000"\nca_bundle = "tls/ca.pem"\n'
        'encryption_context = { purpose = "blindgate" }\nsample_files = true\n'
        '[model]\nfolder = "model"\n'
    )
    return load(path).config


def credentials(kms: RunningKms, **more: str) -> bytes:
    parent = kms.principals["parent"]
    return cbor2.dumps(
        {
            "access_key_id": parent.access_key_id,
            "secret_access_key": parent.secret_access_key,
            "session_token": parent.session_token,
            "expires": None,
            **more,
        }
    )


@pytest.fixture(scope="module")
def deployment(
    tmp_path_factory: pytest.TempPathFactory,
    dev_root: DevRoot,
    enclaves: Enclaves,
    recipient_key: RecipientKey,
) -> Iterator[Deployment]:
    folder = tmp_path_factory.mktemp("regions")
    now = datetime.now(UTC)
    principals = people(now)
    material = secrets.token_bytes(32)
    policy = json.dumps(key_policy("blue"))
    keys = {
        US: [
            Key(MRK, arn(US, MRK), material, policy, now),
            Key(ONE_REGION, arn(US, ONE_REGION), secrets.token_bytes(32), policy, now),
        ],
        EU: [Key(MRK, arn(EU, MRK), material, policy, now)],
    }
    config = configuration(folder)
    with ExitStack() as stack:
        kms = {}
        for region, listed in keys.items():
            # One authority for both, as Amazon's is; each certificate names its own Region.
            certificates = ensure_certificates(folder / "tls", region)
            kms[region] = stack.enter_context(
                running_kms(
                    folder / region,
                    certificates,
                    dev_root.root,
                    principals=principals,
                    region=region,
                    keys=listed,
                )
            )

        def start(region: str, *, proxy: str | None = None, said: str | None = None) -> Unsealer:
            store = CredentialStore(regions=config.kms.regions)
            store.replace(credentials(kms[region], region=said or region))
            target = urlsplit(kms[proxy or region].endpoint)

            def dial(_: Address, timeout: float) -> socket.socket:
                return socket.create_connection((target.hostname, target.port), timeout)

            client = KmsClient(
                _kms_settings(config),
                InProcessNsm(enclaves.boot("blue").nsm),
                store,
                dial=dial,
                keys=RecipientKeys(lambda: recipient_key),
            )
            stack.callback(client.close)
            return Unsealer(_unseal_settings(config), KmsTurns(client), region=store.region)

        yield Deployment(kms, start)


def encrypted(kms: RunningKms, key: str) -> bytes:
    """A message of the AWS Encryption SDK under a key of this KMS."""
    blob = kms.client("client").encrypt(KeyId=key, Plaintext=KEY, EncryptionContext=CONTEXT)
    return message(keys=[wrapped(key, blob=blob["CiphertextBlob"])])


@pytest.mark.parametrize("region", [US, EU])
def test_the_same_configuration_serves_in_each_region(deployment: Deployment, region: str) -> None:
    opened = deployment.start(region).open(encrypted(deployment.kms[region], arn(region, MRK)))
    assert bytes(opened) == PHOTO


@pytest.mark.parametrize(("written", "opened"), [(US, EU), (EU, US)])
def test_a_message_under_a_multi_region_key_opens_in_the_other_region(
    deployment: Deployment, written: str, opened: str
) -> None:
    text = encrypted(deployment.kms[written], arn(written, MRK))
    assert bytes(deployment.start(opened).open(text)) == PHOTO


def test_a_message_under_a_key_of_another_region_does_not_open(deployment: Deployment) -> None:
    text = encrypted(deployment.kms[US], arn(US, ONE_REGION))
    assert bytes(deployment.start(US).open(text)) == PHOTO
    with pytest.raises(EnvelopeRejected):
        deployment.start(EU).open(text)


def test_a_sample_file_is_taken_to_the_keys_of_the_region(deployment: Deployment) -> None:
    blob = deployment.kms[US].client("client").encrypt(KeyId=arn(US, MRK), Plaintext=KEY)
    assert bytes(deployment.start(EU).open(sample(blob=blob["CiphertextBlob"]))) == PHOTO


def test_the_kms_of_another_region_is_not_taken_for_that_of_the_region(
    deployment: Deployment,
) -> None:
    """The certificate of each KMS names its own Region only."""
    text = encrypted(deployment.kms[US], arn(US, MRK))
    with pytest.raises(KmsUnavailable):
        deployment.start(EU, proxy=US).open(text)


# The Region that the parent names -----------------------------------------------------------------


def store(*regions: str) -> CredentialStore:
    return CredentialStore(regions=regions)


PUSHED = {
    "access_key_id": "ASIAEXAMPLEEXAMPLE00",
    "secret_access_key": "secret",
    "session_token": None,
    "expires": None,
}


def test_one_measured_region_need_not_be_named() -> None:
    one = store(US)
    assert one.region() == US
    one.replace(cbor2.dumps(PUSHED))
    one.replace(cbor2.dumps({**PUSHED, "region": US}))
    assert one.region() == US


def test_of_several_measured_regions_the_parent_chooses_one() -> None:
    several = store(US, EU)
    assert several.region() is None
    several.replace(cbor2.dumps({**PUSHED, "region": EU}))
    assert several.region() == EU


@pytest.mark.parametrize("named", [{}, {"region": None}, {"region": "eu-west-2"}, {"region": 1}])
def test_a_region_that_is_not_measured_is_refused(named: dict[str, object]) -> None:
    several = store(US, EU)
    several.replace(cbor2.dumps({**PUSHED, "region": EU}))
    with pytest.raises(RegionNotMeasured, match="name no Region of the measured configuration"):
        several.replace(cbor2.dumps({**PUSHED, **named}))
    assert several.region() == EU
    current = several.current()
    assert current is not None
    assert current.generation == 1


def test_another_region_than_the_only_measured_one_is_refused() -> None:
    with pytest.raises(RegionNotMeasured):
        store(US).replace(cbor2.dumps({**PUSHED, "region": EU}))


def test_before_the_parent_names_a_region_no_key_is_asked_for() -> None:
    kms = CountingKms()
    settings = UnsealSettings(MEASURED, CONTEXT, sample_files=True)
    opener = Unsealer(settings, kms, region=store(US, EU).region)
    for envelope in (message(arn=arn(US, MRK)), sample()):
        with pytest.raises(KmsUnavailable):
            opener.open(envelope)
    assert kms.asked == []


def asked(named: list[str], region: str) -> list[str]:
    """The keys that KMS is asked for when a message names some."""
    kms = CountingKms()
    opener = Unsealer(UnsealSettings(MEASURED, CONTEXT), kms, region=lambda: region)
    try:
        opener.open(message(keys=[wrapped(each) for each in named]))
    except EnvelopeRejected:
        assert kms.asked == []
    return [key for _, _, key in kms.asked]


@pytest.mark.parametrize(
    ("named", "region", "key"),
    [
        ([arn(US, MRK)], US, arn(US, MRK)),
        ([arn(US, MRK)], EU, arn(EU, MRK)),
        # Its Region need not be measured: the replica in ours has the same key material.
        ([arn("ap-south-1", MRK)], EU, arn(EU, MRK)),
        ([arn(US, ONE_REGION), arn(EU, MRK)], US, arn(US, MRK)),
        ([arn("ap-south-1", MRK), arn(US, MRK)], US, arn(US, MRK)),
        ([arn(US, ONE_REGION)], US, arn(US, ONE_REGION)),
    ],
)
def test_kms_is_asked_for_the_measured_key_of_its_region(
    named: list[str], region: str, key: str
) -> None:
    assert asked(named, region) == [key]


@pytest.mark.parametrize(
    "named",
    [
        arn(US, ONE_REGION),
        arn(EU, ONE_REGION),
        arn(US, MRK, account="444455556666"),
        arn(US, MRK, partition="aws-cn"),
        arn(US, f"{MRK}0"),
        arn(US, MRK).replace(":key/", ":alias/"),
        arn(US, MRK).replace(":kms:", ":s3:"),
        f"{arn(US, MRK)}:x",
        MRK,
        "",
    ],
)
def test_no_other_key_matches_across_regions(named: str) -> None:
    assert asked([named], EU) == []
    assert not is_replica(named, arn(EU, MRK))


def test_keys_of_one_region_never_match_across_regions() -> None:
    assert not is_replica(arn(US, ONE_REGION), arn(EU, ONE_REGION))
