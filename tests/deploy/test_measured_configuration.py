"""deploy/enclave.toml and the roots beside it fit what the parent runs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from cryptography import x509

from blindgate.link import parse_address
from blindgate.link.addresses import VsockAddress
from enclave_app.config import load
from tests.deploy import terraform as tf

CONFIG = tf.ROOT / "deploy" / "enclave.toml"


def test_the_worker_reads_it() -> None:
    config = load(CONFIG).config
    assert config.answers == "sealed"
    assert config.nsm.device == "/dev/nsm"
    assert not config.nsm.clock_sources
    assert not config.kms.sample_files


def test_its_addresses_are_those_of_the_units() -> None:
    config = load(CONFIG).config
    unit = (tf.ROOT / "deploy/systemd/blindgate-vsock-proxy.service").read_text()
    assert parse_address(config.kms.address) == VsockAddress(3, 8000)
    assert " 8000 ${BLINDGATE_KMS_HOST} 443" in unit
    listening = parse_address(config.listen)
    assert isinstance(listening, VsockAddress)
    assert listening.port == 5005
    assert ":5005" in (tf.ROOT / "deploy/systemd/enclave_unit.py").read_text()


def test_terraform_demands_the_context_that_the_image_demands() -> None:
    (value,) = load(CONFIG).config.kms.encryption_context.items()
    text = (tf.SOURCES / "examples/complete/variables.tf").read_text()
    assert f'default     = {{ {value[0]} = "{value[1]}" }}' in text


def test_the_bundle_holds_amazons_roots_and_no_others(tmp_path: Path) -> None:
    script = tf.ROOT / "deploy" / "amazon_roots.py"
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, check=True)
    (tmp_path / "ca.pem").write_text(done.stdout)
    roots = x509.load_pem_x509_certificates((tmp_path / "ca.pem").read_bytes())
    names = sorted(each.subject.rfc4514_string() for each in roots)
    assert names == [f"CN=Amazon Root CA {number},O=Amazon,C=US" for number in (1, 2, 3, 4)]
