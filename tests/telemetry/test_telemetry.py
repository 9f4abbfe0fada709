"""No program of ours, and no dependency in it, reports about this machine to its vendor.

Each one runs with an empty home directory, and with a resolver that notes what is looked up and
finds nothing beyond this machine. The first tests show that the recording sees what ONNX Runtime
does when nobody turns it off.
"""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from blindgate.cache import cache_folder
from models.fetch import pull
from tests.e2e.live import live_stack

ROOT = Path(__file__).resolve().parents[2]
OUR_PACKAGES = (
    "bench",
    "blindgate",
    "devstack",
    "enclave_app",
    "enclave_image",
    "gateway",
    "models",
)
#: ONNX Runtime's first upload was seen 8 s after its import.
UPLOAD_SECONDS = 12
#: ONNX Runtime leaves its telemetry off where one of these says that a build server runs it.
BUILD_SERVERS = {
    *("BUILDKITE", "CI", "CIRCLECI", "CODEBUILD_BUILD_ID", "GITHUB_ACTIONS", "GITLAB_CI"),
    *("JENKINS_URL", "TEAMCITY_VERSION", "TF_BUILD", "TRAVIS"),
}
COUNT_THREADS = "import os; print(len(os.listdir('/proc/self/task')))"


@dataclass(frozen=True)
class Recording:
    """What a program left in its home directory and looked up.

    Attributes:
        home: The home directory, empty at the start.
        log: Where host names are noted.
        shim: The library that notes them.
    """

    home: Path
    log: Path
    shim: Path

    @property
    def environment(self) -> dict[str, str]:
        """What to start a program with."""
        inherited = {
            name: value
            for name, value in os.environ.items()
            if name not in {"ORT_DISABLE_TELEMETRY", *BUILD_SERVERS}
            and not name.startswith(("XDG_", "AWS_"))
        }
        return {
            **inherited,
            "HOME": str(self.home),
            "LD_PRELOAD": str(self.shim),
            "RECORDED_LOOKUPS": str(self.log),
            "BLINDGATE_CACHE": str(cache_folder()),
            "PYTHONDONTWRITEBYTECODE": "1",
        }

    def files(self) -> list[str]:
        return sorted(str(each.relative_to(self.home)) for each in self.home.rglob("*"))

    def lookups(self) -> list[str]:
        return self.log.read_text().split() if self.log.exists() else []

    def run(self, *command: str | Path, cwd: Path = ROOT) -> str:
        done = subprocess.run(
            [sys.executable, *map(str, command)],
            env=self.environment,
            cwd=cwd,
            capture_output=True,
            text=True,
            timeout=110,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout


@pytest.fixture(scope="module")
def shim(tmp_path_factory: pytest.TempPathFactory) -> Path:
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None or not sys.platform.startswith("linux"):
        pytest.skip("the recording resolver needs Linux and a C compiler (Debian: gcc, libc6-dev)")
    library = tmp_path_factory.mktemp("shim") / "lookups.so"
    source = Path(__file__).with_name("lookups.c")
    built = subprocess.run(
        [compiler, "-shared", "-fPIC", "-O1", "-o", library, source, "-ldl"],
        capture_output=True,
        text=True,
        check=False,
    )
    if built.returncode:
        pytest.skip(f"the C compiler is not complete (Debian: gcc, libc6-dev): {built.stderr}")
    return library


@pytest.fixture
def recording(tmp_path: Path, shim: Path) -> Recording:
    home = tmp_path / "home"
    home.mkdir()
    return Recording(home, tmp_path / "lookups", shim)


def test_the_recording_sees_what_onnx_runtime_does_by_itself(recording: Recording) -> None:
    recorded = f"{str(recording.log)!r}"
    program = (
        "import numpy, os, time; before = len(os.listdir('/proc/self/task'))\n"
        "import onnxruntime; after = len(os.listdir('/proc/self/task'))\n"
        "ends = time.monotonic() + 60\n"
        f"while not os.path.exists({recorded}) and time.monotonic() < ends:\n"
        "    time.sleep(0.1); after = max(after, len(os.listdir('/proc/self/task')))\n"
        "print(after - before)"
    )
    more_threads = int(recording.run("-c", program))
    assert more_threads > 0
    assert any(name.endswith("onnxruntime.db") for name in recording.files())
    assert recording.lookups()
    assert "127.0.0.1" not in recording.lookups()


def test_the_recording_sees_python_s_lookups_too(recording: Recording) -> None:
    recording.run(
        "-c",
        "import socket\n"
        "socket.getaddrinfo('localhost', 80)\n"
        "try: socket.create_connection(('telemetry.example', 80))\n"
        "except OSError: pass",
    )
    assert recording.lookups() == ["telemetry.example"]


def modules_that_import_onnx_runtime() -> Iterator[str]:
    for package in OUR_PACKAGES:
        for file in sorted((ROOT / package).rglob("*.py")):
            for node in ast.walk(ast.parse(file.read_text())):
                names = [each.name for each in node.names] if isinstance(node, ast.Import) else []
                if isinstance(node, ast.ImportFrom):
                    names = [node.module or ""]
                if any(name.partition(".")[0] == "onnxruntime" for name in names):
                    yield ".".join(file.relative_to(ROOT).with_suffix("").parts)


MODULES = sorted(set(modules_that_import_onnx_runtime()))


def test_the_search_finds_modules() -> None:
    assert {"enclave_app.detector.session", "models.calibrate", "bench.detector"} <= set(MODULES)


@pytest.mark.parametrize("module", MODULES)
def test_importing_a_module_with_onnx_runtime_starts_nothing(
    recording: Recording, module: str
) -> None:
    if module.startswith("bench.peers"):
        pytest.skip("a peer's libraries are in an environment of its own: `make bench` installs it")
    program = f"import numpy; {COUNT_THREADS}; import {module}; {COUNT_THREADS}"
    before, after = recording.run("-c", program).split()
    assert before == after
    assert recording.files() == []
    assert recording.lookups() == []


def commands(photo: Path, folder: Path) -> dict[str, list[str | Path]]:
    model = pull("ssd-mobilenet-v2-coco-int8")
    loop = (
        "import sys; from pathlib import Path; from bench.detector import plain_loop\n"
        "from blindgate.detections import DetectOptions\n"
        "from models.fetch import pull\n"
        "find = plain_loop(pull('ssd-mobilenet-v2-coco'))\n"
        "assert find(Path(sys.argv[1]).read_bytes(), DetectOptions()).detections"
    )
    blindgate = ["-m", "blindgate"]
    return {
        "demo": [*blindgate, "dev", "demo", "--output", folder / "demo"],
        "models check": [
            *blindgate, "models", "check", model / "model.onnx", "--manifest", model / "model.toml",
        ],
        "bench loop": ["-c", loop, photo],
        "command line": [*blindgate, "--help"],
    }  # fmt: skip


@pytest.mark.parametrize("name", ["demo", "models check", "bench loop", "command line"])
def test_a_command_writes_and_looks_up_nothing(
    recording: Recording, name: str, tmp_path: Path
) -> None:
    from devstack.demo import default_photo

    recording.run(*commands(default_photo(), tmp_path)[name])
    assert recording.files() == []
    assert recording.lookups() == []


def open_files(pid: int) -> list[str]:
    folder = Path(f"/proc/{pid}/fd")
    return [str(each.readlink()) for each in folder.iterdir() if each.is_symlink()]


def variables(pid: int) -> Mapping[str, str]:
    text = Path(f"/proc/{pid}/environ").read_bytes().decode()
    return dict(each.split("=", 1) for each in text.split("\0") if "=" in each)


def test_a_stack_that_runs_for_a_while_writes_and_looks_up_nothing(recording: Recording) -> None:
    with live_stack(environment=recording.environment) as stack:
        time.sleep(UPLOAD_SECONDS)
        worker = stack.running.pids["worker"]
        assert variables(worker)["ORT_DISABLE_TELEMETRY"] == "1"
        assert not [name for name in open_files(worker) if str(recording.home) in name]
        assert recording.files() == []
    assert recording.files() == []
    assert recording.lookups() == []
