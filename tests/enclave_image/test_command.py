from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from blindgate.cli import app
from enclave_image.eif import write
from enclave_image.errors import MalformedImage
from enclave_image.pcrs import measure
from tests.enclave_image.test_eif import image

RUN = CliRunner()


@pytest.fixture
def eif(tmp_path: Path) -> Path:
    path = tmp_path / "test.eif"
    path.write_bytes(write(image()))
    return path


def test_pcrs_prints_what_nitro_cli_prints(eif: Path) -> None:
    done = RUN.invoke(app, ["image", "pcrs", str(eif)])
    assert done.exit_code == 0
    assert done.stdout == measure(image()).to_json()


def test_inspect_says_what_is_measured_where(eif: Path) -> None:
    done = RUN.invoke(app, ["image", "inspect", str(eif), "--json"])
    assert done.exit_code == 0
    about = json.loads(done.stdout)
    assert about["command_line"] == "console=ttyS0"
    assert [each["measured_in"] for each in about["sections"]] == [
        ["PCR0", "PCR1"],
        ["PCR0", "PCR1"],
        ["PCR0", "PCR1"],
        ["PCR0", "PCR2"],
        ["nothing"],
    ]
    shown = RUN.invoke(app, ["image", "inspect", str(eif)])
    assert shown.exit_code == 0
    assert measure(image()).pcr0.hex() in shown.stdout
    assert "not measured" in shown.stdout


def test_a_damaged_image_is_refused(eif: Path) -> None:
    eif.write_bytes(eif.read_bytes()[:-1])
    done = RUN.invoke(app, ["image", "inspect", str(eif)])
    assert isinstance(done.exception, MalformedImage)


def test_missing_files_and_models_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BLINDGATE_CACHE", str(tmp_path))
    done = RUN.invoke(app, ["image", "pcrs", str(tmp_path / "absent.eif")])
    assert done.exit_code == 2
    command = ["image", "build", "--config", "x.toml", "-o", "x.eif", "--model"]
    done = RUN.invoke(app, [*command, "absent"])
    assert done.exit_code == 2
    assert "blindgate models pull absent" in done.stderr.replace("\n", " ")
    done = RUN.invoke(app, [*command, str(tmp_path), "--module", "nsm.ko"])
    assert done.exit_code == 2
