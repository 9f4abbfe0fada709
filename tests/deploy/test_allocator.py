"""What an enclave and the allocator are given, from the image's size."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from enclave_app.config import LimitsSection
from tests.deploy import terraform as tf

SCRIPT = tf.ROOT / "deploy" / "systemd" / "allocator.py"


def load() -> ModuleType:
    spec = importlib.util.spec_from_file_location("deploy_allocator", SCRIPT)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


allocator = load()


@given(st.integers(1, 4 * 1024**3), st.integers(1, 96))
def test_an_enclave_has_at_least_what_nitro_cli_demands(eif_bytes: int, cpus: int) -> None:
    enclave = allocator.size(eif_bytes, cpus)
    assert enclave.memory_mib * 1024**2 >= 4 * eif_bytes + allocator.WORKING_SET_MIB * 1024**2
    assert enclave.memory_mib % 2 == 0, "huge pages have 2 MiB"
    assert enclave.cpus == cpus


def test_the_working_set_is_what_the_workers_limits_say() -> None:
    assert LimitsSection().memory_bytes == allocator.WORKING_SET_MIB * 1024**2


def test_the_files_are_those_that_the_units_read(tmp_path: Path) -> None:
    eif = tmp_path / "blue.eif"
    with eif.open("wb") as file:
        file.truncate(120 * 1024**2)
    command = [sys.executable, str(SCRIPT), "--eif", str(eif), "--slots", "2", "--cpus", "2"]
    subprocess.run([*command, "--etc", str(tmp_path / "etc")], check=True, capture_output=True)

    text = (tmp_path / "etc/nitro_enclaves/allocator.yaml").read_text()
    assert text.startswith("---\n"), "the allocator skips what stands before"
    memory = allocator.size(120 * 1024**2, 2).memory_mib
    assert yaml.safe_load(text) == {"memory_mib": 2 * memory, "cpu_count": 4}

    unit = (tf.ROOT / "deploy/systemd/blindgate-enclave@.service").read_text()
    for slot, cid in (("blue", 16), ("green", 17)):
        lines = (tmp_path / f"etc/blindgate/enclave-{slot}.env").read_text().splitlines()
        values = dict(line.split("=", 1) for line in lines)
        assert values == {
            "BLINDGATE_EIF": str(tmp_path / f"{slot}.eif"),
            "BLINDGATE_CID": str(cid),
            "BLINDGATE_CPUS": "2",
            "BLINDGATE_MEMORY": str(memory),
        }
        assert all(f"${{{name}}}" in unit for name in values)


@pytest.mark.parametrize(("size", "cpus"), [(0, 2), (-1, 2), (1, 0)])
def test_numbers_that_make_no_sense_are_refused(size: int, cpus: int) -> None:
    with pytest.raises(ValueError, match="at least one vCPU"):
        allocator.size(size, cpus)


def test_a_missing_image_is_one_line(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, SCRIPT, "--eif", tmp_path / "none.eif", "--etc", tmp_path],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.startswith("allocator: ")
    assert len(done.stderr.splitlines()) == 1


def sized(folder: Path, requirements: str, cpus: int = 2) -> subprocess.CompletedProcess[str]:
    eif = folder / "blue.eif"
    with eif.open("wb") as file:
        file.truncate(100 * 1024**2)
    (folder / "blue.requirements.json").write_text(requirements)
    return subprocess.run(
        [sys.executable, SCRIPT, "--eif", eif, "--cpus", str(cpus), "--etc", folder],
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(("asked", "given"), [(4096, 4096), (704, 704), (64, 448)])
def test_the_images_own_requirements_count(tmp_path: Path, asked: int, given: int) -> None:
    done = sized(tmp_path, json.dumps({"version": 1, "memory_mib": asked, "cpus": 2}))
    assert done.returncode == 0, done.stderr
    text = (tmp_path / "nitro_enclaves/allocator.yaml").read_text()
    assert yaml.safe_load(text) == {"memory_mib": given, "cpu_count": 2}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"memory_mib": 64, "cpus": 4}', "the image needs 4 vCPUs: give --cpus 4"),
        ("{}", "does not say memory_mib and cpus"),
        ("[]", "does not say memory_mib and cpus"),
        ("", "does not say memory_mib and cpus"),
        ('{"memory_mib": "64", "cpus": 2}', "positive whole numbers"),
        ('{"memory_mib": 0, "cpus": 2}', "positive whole numbers"),
        ('{"memory_mib": 64, "cpus": true}', "positive whole numbers"),
    ],
)
def test_requirements_that_cannot_be_met_are_one_line(
    tmp_path: Path, text: str, message: str
) -> None:
    done = sized(tmp_path, text)
    assert done.returncode == 1
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "nitro_enclaves").exists()


def test_terraform_and_the_allocator_have_the_same_slots() -> None:
    text = (tf.SOURCES / "modules/gateway/main.tf").read_text()
    assert "cids  = { blue = 16, green = 17 }" in text
    assert allocator.SLOTS == {"blue": 16, "green": 17}
