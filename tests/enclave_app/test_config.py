"""The measured configuration."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from blindgate.imaging.limits import DEFAULT_LIMITS
from enclave_app.config import ConfigError, load

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
    assert config.kms.host == "kms.us-east-1.amazonaws.com"


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
        ("[model]", "[limits]\nupload_memory_bytes = 33000000\n[model]", "upload_memory_bytes"),
        ("[model]", "[limits]\nbody_bytes = 201326593\n[model]", "upload_memory_bytes"),
        ("[model]", "[limits]\nimage_memory_bytes = 402653184\n[model]", "image_memory_bytes"),
        ("[model]", "[limits]\nimage_pixels = 108000000\n[model]", "or lower image_pixels"),
        ("[kms]", "[kms", "not TOML"),
    ],
)
def test_a_mistake_is_named_and_the_worker_does_not_start(
    tmp_path: Path, old: str, new: str, says: str
) -> None:
    assert old in GOOD
    with pytest.raises(ConfigError, match=says):
        load(write(tmp_path, GOOD.replace(old, new)))


def test_the_limits_of_one_image_are_those_of_all_parts(tmp_path: Path) -> None:
    limits = load(write(tmp_path, GOOD)).config.limits
    assert limits.image == DEFAULT_LIMITS
    assert limits.body_bytes == 33_554_432
    assert limits.image_pixels == 67_108_864
    assert limits.image_side == 32_767


def test_smaller_images_need_a_smaller_budget(tmp_path: Path) -> None:
    small = "[limits]\nimage_pixels = 12500000\nimage_memory_bytes = 234881024\n[model]"
    assert load(write(tmp_path, GOOD.replace("[model]", small))).config.limits.image_pixels


def test_a_missing_file_is_said(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"cannot read .*none\.toml"):
        load(tmp_path / "none.toml")


def test_an_emulators_clock_is_accepted_only_if_the_measured_file_says_so(tmp_path: Path) -> None:
    assert load(write(tmp_path, GOOD)).config.nsm.clock_sources == ()
    emulated = GOOD.replace("[kms]", '[nsm]\nclock_sources = ["tsc"]\n\n[kms]')
    assert load(write(tmp_path, emulated)).config.nsm.clock_sources == ("tsc",)
    with pytest.raises(ConfigError, match="clock_sources"):
        load(write(tmp_path, emulated.replace('"tsc"', '"../tsc"')))
