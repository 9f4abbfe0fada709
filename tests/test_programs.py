"""Programs that are started by `python -m`: a mistake is one line there, too."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from blindgate.failures import INSTALL_CHECKOUT, INSTALL_CLIENT

ROOT = Path(__file__).resolve().parents[1]
NSM = "devstack.nsm --socket s --root-dir {folder} --pcrs"
MISTAKES = [
    ("gateway", "blindgate-gateway: no measurements given: add --pcrs FILE"),
    ("gateway --bogus", "blindgate-gateway: unrecognized arguments: --bogus. See: "),
    ("gateway --port", "blindgate-gateway: argument --port: expected one argument"),
    ("gateway --port x", "blindgate-gateway: port: Input should be a valid integer"),
    ("gateway --pcrs absent", "blindgate-gateway: cannot read absent: No such file"),
    ("gateway --pcrs {pcrs} --root {text}", "{text}: not a PEM file with one certificate"),
    ("gateway --pcrs {pcrs} --root absent", "cannot read absent"),
    ("gateway --pcrs {pcrs} --api-keys {text}", "{text}: not a list of API keys: Invalid JSON"),
    ("gateway --pcrs {pcrs} --api-keys absent", "absent: No such file"),
    ("gateway.console --gateway http://h --pcrs absent --output o", "absent"),
    ("gateway.console --gateway http://h --pcrs {pcrs} --output {text}", "{text} exists already"),
    ("gateway.console --gateway http://h --pcrs {pcrs} --output {pcrs} --force", "not overwritten"),
    ("gateway.console --gateway http://h --pcrs {pcrs} --root {text} --output o", "not a PEM file"),
    ("enclave_app --config absent", "enclave_app: cannot read absent"),
    ("enclave_app --config {text}", "enclave_app: "),
    (f"{NSM} absent", "devstack.nsm: cannot read absent"),
    (f"{NSM} {{text}}", "devstack.nsm: PCR set text"),
    (
        "devstack.vsock_proxy --config absent unix:///s h 443",
        "vsock-proxy: absent is no allow-list",
    ),
    ("devstack.vsock_proxy --config {allowed} unix:///absent/s h 443", "vsock-proxy: "),
    ("devstack.prepare root --state /proc/absent", "prepare: cannot make the folder /proc/absent"),
    ("devstack.kms --listen nonsense", "blindgate: 'nonsense' is no address"),
    ("devstack.kms --folder /proc/absent", "/proc/absent"),
    ("blindgate detect absent", "blindgate: cannot read absent"),
]


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("programs")
    (folder / "text").write_text("just some words\n")
    (folder / "pcrs").write_text("{" + ",".join(f'"PCR{i}": "{"a1" * 48}"' for i in range(3)) + "}")
    (folder / "allowed").write_text("allowlist:\n- {address: h, port: 443}\n")
    return {"folder": str(folder), **{each.name: str(each) for each in folder.iterdir()}}


def started(words: list[str], folder: str, code: str = "") -> subprocess.CompletedProcess[str]:
    """Run a program in an empty environment; `code` runs in its interpreter first."""
    start = f"{code}\nimport runpy, sys\nsys.argv[:] = {words!r}\n"
    start += f"runpy.run_module({words[0]!r}, run_name='__main__', alter_sys=True)"
    return subprocess.run(
        [sys.executable, "-c", start],
        cwd=folder,
        env={"PATH": os.environ["PATH"], "HOME": folder, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


@pytest.mark.parametrize(("line", "says"), MISTAKES, ids=[line for line, _ in MISTAKES])
def test_a_mistake_is_one_line(line: str, says: str, places: dict[str, str]) -> None:
    done = started(line.format_map(places).split(), places["folder"])
    assert done.returncode in (1, 2)
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert says.format_map(places) in done.stderr


@pytest.mark.parametrize(
    ("program", "missing", "install"),
    [
        ("gateway", "uvicorn", INSTALL_CHECKOUT),
        ("gateway.console", "pydantic_settings", INSTALL_CHECKOUT),
        ("enclave_app", "onnxruntime", INSTALL_CHECKOUT),
        ("devstack.kms", "typer", INSTALL_CHECKOUT),
        ("devstack.vsock_proxy", "yaml", INSTALL_CHECKOUT),
        ("blindgate", "rich", INSTALL_CLIENT),
    ],
)
def test_a_package_that_is_missing_is_one_line(
    program: str, missing: str, install: str, places: dict[str, str]
) -> None:
    options = {
        "gateway": "--pcrs {pcrs}",
        "gateway.console": "--gateway http://h --pcrs {pcrs} --output o",
        "enclave_app": "--config {text}",
        "devstack.vsock_proxy": "--config {allowed} unix://{folder}/s h 443",
        "blindgate": "detect absent",
    }
    words = [program, *options.get(program, "").format_map(places).split()]
    done = started(words, places["folder"], f"import sys; sys.modules[{missing!r}] = None")
    assert done.returncode in (1, 2)
    assert f"this needs: {install} (no module {missing}" in done.stderr
    assert len(done.stderr.splitlines()) == 1, done.stderr
