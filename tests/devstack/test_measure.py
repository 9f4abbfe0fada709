"""PCRs of a worker that runs as a process."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from devstack.measure import measure
from enclave_image.closure import import_closure

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def worker(tmp_path: Path) -> Path:
    """A copy of everything that is measured, with a small file for a model."""
    for name, path in import_closure().items():
        target = tmp_path / path.relative_to(ROOT)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)
        assert name.split(".")[0] in {"blindgate", "enclave_app"}
    (tmp_path / "locks").mkdir()
    (tmp_path / "locks/enclave.txt").write_text("numpy==1\n")
    (tmp_path / "model").mkdir()
    (tmp_path / "model/model.toml").write_text("name = 'x'\n[cpu]\notherwise = 'plain'\n")
    (tmp_path / "plain").mkdir()
    (tmp_path / "plain/model.onnx").write_bytes(b"plain onnx")
    (tmp_path / "plain/model.toml").write_text("name = 'plain'\n")
    (tmp_path / "model/model.onnx").write_bytes(b"onnx")
    (tmp_path / "ca.pem").write_text("a certificate\n")
    (tmp_path / "enclave.toml").write_text(
        'listen = "unix:///w"\n[kms]\nca_bundle = "ca.pem"\n[model]\nfolder = "model"\n'
    )
    return tmp_path


def pcrs(worker: Path) -> list[bytes]:
    measured = measure(worker / "enclave.toml", worker)
    return [measured.pcr0, measured.pcr1, measured.pcr2]


def test_the_same_worker_measures_the_same(worker: Path) -> None:
    assert pcrs(worker) == pcrs(worker)
    assert all(len(each) == 48 and any(each) for each in pcrs(worker))


@pytest.mark.parametrize(
    "changed",
    [
        "enclave.toml",
        "model/model.onnx",
        "model/model.toml",
        "plain/model.onnx",
        "ca.pem",
        "enclave_app/handlers/dispatch.py",
        "blindgate/sealing/ohttp.py",
    ],
)
def test_one_byte_of_the_application_changes_pcr0_and_pcr2(worker: Path, changed: str) -> None:
    before = pcrs(worker)
    with (worker / changed).open("ab") as file:
        file.write(b"\n")
    after = pcrs(worker)
    assert after[0] != before[0]
    assert after[1] == before[1]
    assert after[2] != before[2]


def test_another_dependency_changes_pcr0_and_pcr1(worker: Path) -> None:
    before = pcrs(worker)
    (worker / "locks/enclave.txt").write_text("numpy==2\n")
    after = pcrs(worker)
    assert after[0] != before[0]
    assert after[1] != before[1]
    assert after[2] == before[2]


def test_it_is_written_as_nitro_cli_prints_it(worker: Path, tmp_path: Path) -> None:
    measured = measure(worker / "enclave.toml", worker)
    measured.write(tmp_path / "pcrs.json")
    written = json.loads((tmp_path / "pcrs.json").read_text())["Measurements"]
    assert written["PCR0"] == measured.pcr0.hex()
    assert set(written) == {"HashAlgorithm", "PCR0", "PCR1", "PCR2"}


def test_what_only_the_parent_or_a_developer_needs_is_not_in_the_enclave() -> None:
    closure = import_closure()
    assert "enclave_app.handlers.dispatch" in closure
    assert "blindgate.sealing.ohttp" in closure
    assert not [
        name for name in closure if name.startswith(("gateway", "devstack", "models", "bench"))
    ]
    assert "blindgate.client" not in closure
    assert "blindgate.cli" not in closure
