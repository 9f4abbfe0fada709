from __future__ import annotations

import json
import marshal
import stat
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from enclave_image import elf, layers, manifest
from enclave_image.architecture import X86_64
from enclave_image.build import PYTHON_LOCK
from enclave_image.bytecode import compile_tree
from enclave_image.closure import ROOT, external_imports, import_closure, reached
from enclave_image.cpio import file, link
from enclave_image.errors import ImageError, LockError
from enclave_image.file_tree import read_tree, write_tree
from enclave_image.wheels import Wheel, read_files, requirements

HASH = "--hash=sha256:" + "0" * 64


def test_the_lock_is_read_for_the_enclaves_interpreter_and_not_for_ours() -> None:
    text = (
        f"numpy==2.4.6 ; python_full_version < '3.12' \\\n    {HASH}\n"
        f"numpy==2.5.5 ; python_full_version >= '3.12' \\\n    {HASH} \\\n    {HASH}1\n"
        f"colorama==0.4 ; sys_platform == 'win32' \\\n    {HASH}\n# a remark\n"
    )
    assert requirements(text) == f"numpy==2.5.5 {HASH} {HASH}1\n"


@pytest.mark.parametrize("line", ["numpy==2.4.6", f"!? {HASH}"])
def test_a_requirement_without_a_hash_or_a_name_is_refused(line: str) -> None:
    with pytest.raises(LockError):
        requirements(line)


def wheel(folder: Path, files: dict[str, bytes]) -> Wheel:
    path = folder / "thing-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return Wheel("thing", "1.0", path)


def test_a_wheel_gives_what_would_be_installed(tmp_path: Path) -> None:
    found = read_files(
        wheel(
            tmp_path,
            {
                "thing/__init__.py": b"",
                "thing-1.0.data/purelib/more.py": b"1",
                "thing-1.0.data/scripts/run": b"#!",
            },
        )
    )
    assert sorted(found) == ["more.py", "thing/__init__.py"]


@pytest.mark.parametrize("name", ["../evil.py", "/etc/evil", "a/../../evil"])
def test_a_wheel_that_leaves_its_folder_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ImageError):
        read_files(wheel(tmp_path, {name: b""}))


def test_only_distributions_that_imports_reach_are_taken(tmp_path: Path) -> None:
    files = {
        "used/used/__init__.py": "def later():\n    from . import deep\n",
        "used/used/deep.py": "import nat.ive\n",
        "native/nat/ive.cpython-313-x86_64-linux-gnu.so": "",
        "unused/unused.py": "import used\n",
        "typing-only/hints.py": "",
    }
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (tmp_path / "used/used/__init__.py").write_text(
        files["used/used/__init__.py"]
        + "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import hints\n"
    )
    assert reached(["used"], tmp_path) == {"used", "native"}


def test_the_enclave_s_interpreter_finds_what_is_reached_with_the_standard_library_alone(
    tmp_path: Path,
) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / f"{name}.py").write_text("")
    done = subprocess.run(
        [sys.executable, "-s", "-S", "-P", "-c", layers._REACHED, str(tmp_path)],
        input="two\nabsent",
        env={"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert json.loads(done.stdout) == ["two"]


def test_the_worker_reaches_nothing_of_the_gateway_the_dev_stack_or_the_clients_side() -> None:
    modules = import_closure()
    assert {name.split(".")[0] for name in modules} == {"blindgate", "enclave_app"}
    assert not [
        name
        for name in modules
        if name.startswith(("blindgate.client", "blindgate.cli", "enclave_image"))
    ]
    names = {each.split(".")[0] for each in external_imports(modules)}
    assert {"onnxruntime", "cryptography", "PIL"} <= names
    assert not names & {"httpx", "fastapi", "typer", "rich", "uvicorn"}
    assert not names & {"aws_encryption_sdk", "boto3"}


def test_the_aws_encryption_sdk_is_not_among_the_worker_s_packages() -> None:
    """It writes messages on the client's side; the worker reads them with code of this project."""
    names = {each.partition("==")[0] for each in PYTHON_LOCK.read_text().splitlines()}
    assert {"cryptography", "pybase64"} <= names
    assert not names & {"aws-encryption-sdk", "attrs", "boto3", "wrapt"}


def test_the_workers_own_files_can_be_copied_out(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "enclave_image.closure", str(tmp_path)]
    subprocess.run(command, check=True, timeout=60)
    copied = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*.py")}
    assert "enclave_app/__main__.py" in copied
    assert len(copied) == len(import_closure())
    assert not [name for name in copied if name.startswith(("gateway", "devstack"))]


def test_what_the_enclave_has_no_use_for_stays_outside() -> None:
    found = manifest.wheel_files(
        {
            "pillow": {
                "PIL/Image.py": file(b""),
                "PIL/_avif.cpython-313-x86_64-linux-gnu.so": file(b""),
                "PIL/tests/test_x.py": file(b""),
                "pillow.libs/libunused.so.1": file(b""),
            },
            "botocore": {"botocore/data/ec2/x.json": file(b""), "botocore/cacert.pem": file(b"")},
        }
    )
    assert sorted(found) == ["PIL/Image.py"]
    stdlib = manifest.STDLIB
    kept = [
        "usr/bin/python3.13",
        f"{stdlib}/_sysconfigdata__linux_aarch64-linux-gnu.py",
        f"{stdlib}/_sysconfigdata__linux_x86_64-linux-gnu.py",
        f"{stdlib}/os.py",
    ]
    dropped = [
        "usr/bin/pdb",
        f"{stdlib}/_sysconfigdata__aarch64-linux-gnu.py",
        f"{stdlib}/_sysconfigdata__x86_64-linux-gnu.py",
        f"{stdlib}/test/x.py",
    ]
    files = {name: file(b"") for name in (*kept, *dropped)}
    assert sorted(manifest.interpreter_files({"python": files})) == kept


@pytest.mark.skipif(sys.platform != "linux", reason="reads a Linux program")
def test_the_libraries_that_a_program_needs_are_the_loaders_opinion_too() -> None:
    program = Path(sys.executable).resolve()
    data = program.read_bytes()
    if not elf.is_elf(data):
        pytest.skip("this interpreter is not a 64-bit little-endian ELF file")
    listed = subprocess.run(["ldd", str(program)], capture_output=True, text=True, check=False)
    names = elf.needed(data)
    assert "libc.so.6" in names
    for name in names:
        assert name in listed.stdout


def test_damaged_elf_files_are_a_typed_error() -> None:
    data = bytearray(Path(sys.executable).resolve().read_bytes()[:4096])
    data[32:40] = b"\xff" * 8
    with pytest.raises(ImageError):
        elf.needed(bytes(data))


def test_libraries_are_followed_and_a_missing_one_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    wants = {b"\x7fELF\x02\x01a": ["b.so"], b"\x7fELF\x02\x01b": ["c.so"], b"\x7fELF\x02\x01c": []}
    monkeypatch.setattr(elf, "needed", lambda data: wants[bytes(data)])
    a, b, c = (file(data) for data in wants)
    here = X86_64.libraries
    loader = {X86_64.loader_path: file(b"\x7fELF\x02\x01c")}
    packages = {"p": {f"{here}/b.so": link("b.so.1"), f"{here}/b.so.1": b, f"{here}/c.so": c}}
    found = manifest.shared_libraries({"bin/a": a}, packages | {"libc6": loader})
    assert found[f"{here}/b.so"] == b
    assert found[f"{here}/c.so"] == c
    assert stat.S_ISLNK(found["lib64/ld-linux-x86-64.so.2"].mode)
    del packages["p"][f"{here}/c.so"]
    with pytest.raises(ImageError, match=r"c\.so"):
        manifest.shared_libraries({"bin/a": a}, packages | {"libc6": loader})


def test_bytecode_replaces_sources_and_names_their_place_in_the_image(tmp_path: Path) -> None:
    source = tmp_path / "package" / "module.py"
    source.parent.mkdir()
    source.write_text("def f():\n    return 1\n")
    compile_tree(tmp_path, "/opt/here")
    assert not source.exists()
    data = source.with_suffix(".pyc").read_bytes()
    # Flags 1: checked by hash, but never against a source.
    assert data[4:8] == b"\x01\0\0\0"
    assert marshal.loads(data[16:]).co_filename == "/opt/here/package/module.py"


def test_a_tree_on_disk_is_the_same_entries(tmp_path: Path) -> None:
    entries = {"a/b": file(b"x", executable=True), "a/c": file(b""), "d": link("a/b")}
    write_tree(tmp_path, entries)
    assert read_tree(tmp_path) == entries
