"""The measured configuration."""

from __future__ import annotations

import hashlib
from contextlib import nullcontext
from pathlib import Path

import pytest

from blindgate.imaging.limits import DEFAULT_LIMITS
from enclave_app.config import ConfigError, LimitsSection, check_memory, load
from enclave_app.kms.endpoints import (
    PARTITIONS,
    NoFipsEndpoint,
    UnknownPartition,
    kms_host,
    partition_of,
)

GOOD = """
listen = "vsock://any:5000"
answers = "open"

[kms]
region = "us-east-1"
key_arns = ["arn:aws:kms:us-east-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab"]
address = "vsock://3:8000"
ca_bundle = "ca.pem"
encryption_context = { purpose = "blindgate" }

[model]
folder = "model"
"""


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "enclave.toml"
    path.write_text(text)
    return path


def test_the_digest_is_of_the_files_bytes(tmp_path: Path) -> None:
    measured = load(write(tmp_path, GOOD))
    assert measured.digest == hashlib.sha256(GOOD.encode()).digest()


def test_relative_paths_start_at_the_files_folder(tmp_path: Path) -> None:
    config = load(write(tmp_path, GOOD)).config
    assert config.kms.ca_bundle == tmp_path / "ca.pem"
    assert config.model.folder == tmp_path / "model"


def test_what_is_not_said_is_the_safe_choice(tmp_path: Path) -> None:
    config = load(write(tmp_path, GOOD.replace('answers = "open"\n', ""))).config
    assert config.answers == "sealed"
    assert config.nsm.device == "/dev/nsm"
    assert config.kms.sample_files is False
    assert config.kms.hosts == {"us-east-1": "kms.us-east-1.amazonaws.com"}


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("listen = ", "listne = ", "listne"),
        ("vsock://any:5000", "tcp://any:5000", "not an address"),
        ('answers = "open"', 'answers = "all"', "answers"),
        ('"arn:aws:kms:us-east-1:111122223333:key/', '"alias/blindgate', "key_arns"),
        ("[model]", "[nsm]\ndevice = '/dev/null'\n[model]", "nsm.device"),
        ('{ purpose = "blindgate" }', "{}", "encryption_context"),
        ("[model]", "[limits]\nthreads = true\n[model]", "limits.threads"),
        ("[model]", "[limits]\nqueue = 0\n[model]", "limits.queue"),
        ("[model]", "[limits]\nimage_memory_bytes = 402653184\n[model]", "image_memory_bytes"),
        ("[model]", "[limits]\nimage_pixels = 108000000\n[model]", "or lower image_pixels"),
        ("[model]", "[limits]\nupload_memory_bytes = 67108863\n[model]", "must be 67108864"),
        ("[model]", "[limits]\nbody_bytes = 201326593\n[model]", "must be 402653186"),
        ('region = "us-east-1"', 'region = "us-iso-east-1"', "none of the partitions"),
        ('region = "us-east-1"', 'region = "xy-east-1"', "none of the partitions"),
        ('region = "us-east-1"', 'region = "us-east-1.evil.example/"', "none of the partitions"),
        ('region = "us-east-1"', 'region = "us-east-2"', "is not in us-east-2"),
        ('region = "us-east-1"', 'region = "cn-north-1"', r"arn:aws-cn:kms:cn-north-1:"),
        ("[kms]", "[kms", "not TOML"),
    ],
)
def test_a_mistake_is_named_and_the_worker_does_not_start(
    tmp_path: Path, old: str, new: str, says: str
) -> None:
    assert old in GOOD
    with pytest.raises(ConfigError, match=says):
        load(write(tmp_path, GOOD.replace(old, new)))


US_KEY = "arn:aws:kms:us-east-1:111122223333:key/mrk-1234abcd12ab34cd56ef1234567890ab"
EU_KEY = US_KEY.replace("us-east-1", "eu-west-1")
CN_KEY = US_KEY.replace("arn:aws:kms:us-east-1", "arn:aws-cn:kms:cn-north-1")


def several(*keys: str) -> str:
    """The configuration without `region`, and with these keys."""
    text = GOOD.replace('region = "us-east-1"\n', "")
    line = next(each for each in text.splitlines() if each.startswith("key_arns"))
    return text.replace(line, f"key_arns = {list(keys)}")


def test_without_a_region_the_keys_say_which_there_are(tmp_path: Path) -> None:
    kms = load(write(tmp_path, several(US_KEY, EU_KEY, US_KEY.replace("mrk-", "")))).config.kms
    assert kms.regions == ("us-east-1", "eu-west-1")
    assert kms.hosts == {
        "us-east-1": "kms.us-east-1.amazonaws.com",
        "eu-west-1": "kms.eu-west-1.amazonaws.com",
    }


@pytest.mark.parametrize(
    ("keys", "says"),
    [
        ((US_KEY, CN_KEY), "is not in the partition aws of the first key"),
        ((CN_KEY, US_KEY), "is not in the partition aws-cn of the first key"),
        ((US_KEY, EU_KEY, US_KEY), "a key is named twice"),
        ((US_KEY, EU_KEY.replace("eu-west-1", "us-gov-west-1")), "partition of another region"),
        ((US_KEY, EU_KEY.replace("eu-west-1", "xy-west-1")), "none of the partitions"),
        ((EU_KEY.replace("eu-west-1", "xy-west-1"),), "none of the partitions"),
        ((), "key_arns"),
    ],
)
def test_keys_of_several_regions_are_of_one_partition(
    tmp_path: Path, keys: tuple[str, ...], says: str
) -> None:
    with pytest.raises(ConfigError, match=says):
        load(write(tmp_path, several(*keys)))


def test_fips_must_be_offered_in_every_region(tmp_path: Path) -> None:
    fips = several(US_KEY, US_KEY.replace("us-east-1", "ap-east-2")).replace(
        "[kms]", "[kms]\nfips = true"
    )
    with pytest.raises(ConfigError, match="no FIPS endpoint in ap-east-2"):
        load(write(tmp_path, fips))


def test_the_limits_of_one_image_are_those_of_all_parts(tmp_path: Path) -> None:
    limits = load(write(tmp_path, GOOD)).config.limits
    assert limits.image == DEFAULT_LIMITS
    assert limits.body_bytes == 33_554_432
    assert limits.image_pixels == 67_108_864
    assert limits.image_side == 32_767


def test_smaller_images_need_a_smaller_budget(tmp_path: Path) -> None:
    small = "[limits]\nimage_pixels = 12500000\nimage_memory_bytes = 234881024\n[model]"
    assert load(write(tmp_path, GOOD.replace("[model]", small))).config.limits.image_pixels


@pytest.mark.parametrize(
    ("cores", "limits", "threads", "alone"),
    [
        (1, "", 1, 1),
        (3, "", 3, 3),
        (16, "", 16, 4),
        (16, "threads = 2", 2, 2),
        (16, "threads = 9", 9, 4),
        (16, "threads_alone = 8", 16, 8),
        (2, "threads = 5\nthreads_alone = 1", 5, 1),
    ],
)
def test_there_is_a_thread_for_each_core_unless_the_file_says_how_many(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    cores: int,
    limits: str,
    threads: int,
    alone: int,
) -> None:
    monkeypatch.setattr("enclave_app.config.usable_cores", lambda: cores)
    text = GOOD.replace("[model]", f"[limits]\n{limits}\n[model]")
    config = load(write(tmp_path, text)).config
    assert (config.threads, config.threads_alone) == (threads, alone)


def test_the_documented_defaults(tmp_path: Path) -> None:
    config = load(write(tmp_path, GOOD)).config
    limits, cache = config.limits, config.kms.data_key_cache
    assert (limits.connections, limits.queue) == (64, 128)
    assert (limits.threads, limits.threads_alone) == (0, 0)
    assert limits.upload_memory_bytes == 402_653_184
    assert limits.image_memory_bytes == 889_192_448
    assert (cache.entries, cache.max_age_s, cache.max_uses) == (256, 300.0, 1000)
    assert cache.max_bytes == 1_073_741_824


@pytest.mark.parametrize(
    ("section", "name", "allowed", "refused"),
    [
        ("limits", "threads", (0, 256), (-1, 257)),
        ("limits", "threads_alone", (0, 64), (-1, 65)),
        ("limits", "connections", (1, 1024), (0, 1025)),
        ("limits", "queue", (1, 4096), (0, 4097)),
        ("limits", "body_bytes", (1024,), (1023, 268_435_457)),
        ("limits", "image_pixels", (1,), (0, 400_000_001)),
        ("limits", "image_side", (1,), (0, 65_536)),
        ("kms.data_key_cache", "entries", (0, 10_000), (-1, 10_001)),
        ("kms.data_key_cache", "max_age_s", (0.1, 86_400), (0, 86_401)),
        ("kms.data_key_cache", "max_uses", (1, 1_000_000), (0, 1_000_001)),
        ("kms.data_key_cache", "max_bytes", (1,), (0,)),
    ],
)
def test_the_ends_of_every_range(
    tmp_path: Path,
    section: str,
    name: str,
    allowed: tuple[float, ...],
    refused: tuple[float, ...],
) -> None:
    def text(value: float) -> str:
        return GOOD.replace("[model]", f"[{section}]\n{name} = {value}\n[model]")

    for value in allowed:
        load(write(tmp_path, text(value)))
    for value in refused:
        with pytest.raises(ConfigError, match=f"{section}.{name}"):
            load(write(tmp_path, text(value)))


def test_a_file_has_64_kib_at_most(tmp_path: Path) -> None:
    filled = GOOD + "#" * (65_536 - len(GOOD))
    assert load(write(tmp_path, filled)).digest == hashlib.sha256(filled.encode()).digest()
    with pytest.raises(ConfigError, match="larger than 65536 bytes"):
        load(write(tmp_path, filled + "#"))


def test_a_missing_file_is_said(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"cannot read .*none\.toml"):
        load(tmp_path / "none.toml")


def test_an_emulators_clock_is_accepted_only_if_the_measured_file_says_so(tmp_path: Path) -> None:
    assert load(write(tmp_path, GOOD)).config.nsm.clock_sources == ()
    emulated = GOOD.replace("[kms]", '[nsm]\nclock_sources = ["tsc"]\n\n[kms]')
    assert load(write(tmp_path, emulated)).config.nsm.clock_sources == ("tsc",)
    with pytest.raises(ConfigError, match="clock_sources"):
        load(write(tmp_path, emulated.replace('"tsc"', '"../tsc"')))


@pytest.mark.parametrize(
    ("region", "partition", "host"),
    [
        ("us-east-1", "aws", "kms.us-east-1.amazonaws.com"),
        ("ap-southeast-7", "aws", "kms.ap-southeast-7.amazonaws.com"),
        ("il-central-1", "aws", "kms.il-central-1.amazonaws.com"),
        ("us-gov-west-1", "aws-us-gov", "kms.us-gov-west-1.amazonaws.com"),
        ("cn-north-1", "aws-cn", "kms.cn-north-1.amazonaws.com.cn"),
        ("cn-northwest-1", "aws-cn", "kms.cn-northwest-1.amazonaws.com.cn"),
        ("eusc-de-east-1", "aws-eusc", "kms.eusc-de-east-1.amazonaws.eu"),
    ],
)
def test_the_partition_decides_kms_s_host_name(
    tmp_path: Path, region: str, partition: str, host: str
) -> None:
    text = GOOD.replace("arn:aws:kms:us-east-1", f"arn:{partition}:kms:{region}")
    text = text.replace('region = "us-east-1"', f'region = "{region}"')
    assert load(write(tmp_path, text)).config.kms.hosts == {region: host}


@pytest.mark.parametrize(
    ("region", "partition", "host"),
    [
        ("us-east-1", "aws", "kms-fips.us-east-1.amazonaws.com"),
        ("us-gov-west-1", "aws-us-gov", "kms-fips.us-gov-west-1.amazonaws.com"),
    ],
)
def test_fips_is_another_host_of_the_same_region(
    tmp_path: Path, region: str, partition: str, host: str
) -> None:
    text = GOOD.replace("arn:aws:kms:us-east-1", f"arn:{partition}:kms:{region}")
    text = text.replace('region = "us-east-1"', f'region = "{region}"\nfips = true')
    assert load(write(tmp_path, text)).config.kms.hosts == {region: host}


@pytest.mark.parametrize(
    ("region", "partition"),
    [
        ("cn-north-1", "aws-cn"),
        ("cn-northwest-1", "aws-cn"),
        ("eusc-de-east-1", "aws-eusc"),
        ("ap-east-2", "aws"),
    ],
)
def test_fips_is_refused_where_kms_does_not_offer_it(
    tmp_path: Path, region: str, partition: str
) -> None:
    text = GOOD.replace("arn:aws:kms:us-east-1", f"arn:{partition}:kms:{region}")
    text = text.replace('region = "us-east-1"', f'region = "{region}"\nfips = true')
    with pytest.raises(ConfigError, match=f"KMS has no FIPS endpoint in {region}: set fips"):
        load(write(tmp_path, text))


@pytest.mark.parametrize("region", ["us-isob-east-1", "eu-isoe-west-1", "us-isof-south-1"])
def test_partitions_without_a_known_suffix_are_refused(tmp_path: Path, region: str) -> None:
    text = GOOD.replace('region = "us-east-1"', f'region = "{region}"')
    with pytest.raises(ConfigError, match="none of the partitions"):
        load(write(tmp_path, text))


def test_the_partitions_are_those_of_botocore() -> None:
    from botocore import session

    loader = session.get_session().get_component("data_loader")
    known = {each["id"]: each for each in loader.load_data("partitions")["partitions"]}
    assert len(PARTITIONS) == 4
    for partition in PARTITIONS:
        assert known[partition.name]["outputs"]["dnsSuffix"] == partition.suffix
        for region in known[partition.name]["regions"]:
            if not region.endswith("global"):
                assert partition_of(region) is partition
    others = [each for name, each in known.items() if name.startswith("aws-iso")]
    assert others
    for region in (name for each in others for name in each["regions"] if "global" not in name):
        with pytest.raises(UnknownPartition):
            partition_of(region)


def test_every_host_name_is_botocore_s() -> None:
    """What AWS's own SDK would call, in each Region of each partition, with FIPS and without."""
    from botocore import session

    loader = session.get_session().get_component("data_loader")
    hosts, fips_hosts = {}, {}
    for partition in loader.load_data("endpoints")["partitions"]:
        if partition["partition"].startswith("aws-iso"):
            continue
        kms = partition["services"]["kms"]["endpoints"]
        for region in partition["regions"]:
            endpoint = kms[region]
            hosts[region] = endpoint.get("hostname", f"kms.{region}.{partition['dnsSuffix']}")
            fips_hosts[region] = next(
                (
                    each["hostname"]
                    for each in endpoint.get("variants", ())
                    if "fips" in each["tags"]
                ),
                None,
            )
    assert {"us-east-1", "cn-north-1", "us-gov-west-1", "eusc-de-east-1"} <= set(hosts)

    def ours(region: str) -> str | None:
        try:
            return kms_host(region, fips=True)
        except NoFipsEndpoint:
            return None

    assert {region: kms_host(region) for region in hosts} == hosts
    assert {region: ours(region) for region in fips_hosts} == fips_hosts


def test_every_host_name_is_what_botocore_s_rules_give() -> None:
    """The rules that newer SDKs evaluate; they do not know where FIPS is offered."""
    from botocore import session
    from botocore.endpoint_provider import EndpointProvider

    loader = session.get_session().get_component("data_loader")
    partitions = loader.load_data("partitions")
    rules = EndpointProvider(loader.load_service_model("kms", "endpoint-rule-set-1"), partitions)
    known = {each["id"]: each["regions"] for each in partitions["partitions"]}
    compared = 0
    for partition in PARTITIONS:
        for region in (each for each in known[partition.name] if not each.endswith("global")):
            for fips in (False, True):
                given = rules.resolve_endpoint(Region=region, UseFIPS=fips, UseDualStack=False)
                try:
                    assert f"https://{kms_host(region, fips=fips)}" == given.url
                except NoFipsEndpoint:
                    continue
                compared += 1
    assert compared > 60


def test_the_defaults_fit_each_other() -> None:
    limits = LimitsSection()
    assert limits.upload_memory_bytes == 402_653_184
    assert limits.upload_memory_bytes >= 2 * limits.body_bytes
    assert limits.memory_bytes == 1_526_726_656


@pytest.mark.parametrize(("kilobytes", "starts"), [(1_490_943, False), (1_490_944, True)])
def test_a_worker_whose_memory_cannot_hold_its_limits_does_not_start(
    tmp_path: Path, kilobytes: int, starts: bool
) -> None:
    meminfo = tmp_path / "meminfo"
    meminfo.write_text(f"MemTotal: 1 kB\nMemFree: 9 kB\nMemAvailable:   {kilobytes} kB\n")
    with nullcontext() if starts else pytest.raises(ConfigError, match="more memory, or lower"):
        check_memory(LimitsSection(), meminfo)


@pytest.mark.parametrize("text", [None, "", "MemTotal: 9999999 kB\n", "MemAvailable: much\n"])
def test_a_system_that_does_not_say_its_memory_is_no_enclave(
    tmp_path: Path, text: str | None
) -> None:
    if text is not None:
        (tmp_path / "meminfo").write_text(text)
    with pytest.raises(ConfigError, match="meminfo"):
        check_memory(LimitsSection(), tmp_path / "meminfo")
