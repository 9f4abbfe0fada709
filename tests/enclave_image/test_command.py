from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import pytest
from typer.testing import CliRunner

from enclave_image.cli import image as app
from enclave_image.eif import write
from enclave_image.errors import MalformedImage
from enclave_image.pcrs import measure
from enclave_image.requirements import KmsRequirements, Requirements
from tests.enclave_image.test_eif import image

RUN = CliRunner()


@pytest.fixture
def eif(tmp_path: Path) -> Path:
    path = tmp_path / "test.eif"
    path.write_bytes(write(image()))
    return path


def test_pcrs_prints_what_nitro_cli_prints(eif: Path) -> None:
    done = RUN.invoke(app, ["pcrs", str(eif)])
    assert done.exit_code == 0
    assert done.stdout == measure(image()).to_json()


def test_inspect_says_what_is_measured_where(eif: Path) -> None:
    done = RUN.invoke(app, ["inspect", str(eif), "--json"])
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
    shown = RUN.invoke(app, ["inspect", str(eif)])
    assert shown.exit_code == 0
    assert measure(image()).pcr0.hex() in shown.stdout
    assert "not measured" in shown.stdout


def test_a_damaged_image_is_refused(eif: Path) -> None:
    eif.write_bytes(eif.read_bytes()[:-1])
    done = RUN.invoke(app, ["inspect", str(eif)])
    assert isinstance(done.exception, MalformedImage)


def test_missing_files_and_models_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BLINDGATE_CACHE", str(tmp_path))
    done = RUN.invoke(app, ["pcrs", str(tmp_path / "absent.eif")])
    assert done.exit_code == 2
    command = ["build", "--config", "x.toml", "-o", "x.eif", "--model"]
    done = RUN.invoke(app, [*command, "absent"])
    assert done.exit_code == 2
    assert "blindgate models pull absent" in done.stderr.replace("\n", " ")
    done = RUN.invoke(app, [*command, str(tmp_path), "--module", "nsm.ko"])
    assert done.exit_code == 2


@pytest.mark.parametrize("full_at", [0, 1, 2, 3])
def test_a_disk_that_is_full_at_the_end_leaves_no_part_of_the_output(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, full_at: int
) -> None:
    from enclave_image import build, cli

    model = tmp_path / "model"
    model.mkdir()
    (model / "model.toml").touch()
    needs = Requirements(
        "x86_64", 2048, 2, KmsRequirements(("us-east-1",), fips=False), "00" * 32, {}
    )
    built = build.Built(b"image", measure(image()), "{}", 1, 1, needs)
    monkeypatch.setattr(build, "build", lambda *_, **__: built)
    written = 0

    def write_new(target: Path, data: bytes, *, force: bool) -> None:
        nonlocal written
        if written == full_at:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(target))
        written += 1
        target.write_bytes(data)

    command = ["build", "--config", "x.toml", "--model", str(model)]
    command += ["-o", str(tmp_path / "out" / "test.eif")]
    with monkeypatch.context() as patch:
        patch.setattr(cli, "write_new", write_new)
        done = RUN.invoke(app, command)
    assert isinstance(done.exception, OSError)
    assert list(tmp_path.glob("out/*")) == []
    assert RUN.invoke(app, command).exit_code == 0
    assert len(list(tmp_path.glob("out/*"))) == 4
    assert json.loads((tmp_path / "out/test.requirements.json").read_text())["memory_mib"] == 2048
