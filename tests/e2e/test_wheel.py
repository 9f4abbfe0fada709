"""A wheel in an environment that holds nothing but what one extra names, far from the checkout.

The environments are offline: they link the packages of the one that runs the tests, and only those
that the wheel's metadata asks for, so that a requirement that is not declared is not there.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tarfile
import venv
import zipfile
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from blindgate.cache import cache_folder
from devstack.page import PAGE
from tests.e2e.live import LiveStack, live_stack

ROOT = Path(__file__).resolve().parents[2]

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def archives(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The wheel and the source archive."""
    folder = tmp_path_factory.mktemp("dist")
    done = subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-d", str(folder)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    (wheel,), (source,) = folder.glob("*.whl"), folder.glob("*.tar.gz")
    return wheel, source


class Environment:
    """A virtual environment in which the wheel was installed with one extra.

    Args:
        folder: Where it is made.
        wheel: The wheel.
        extra: Such as `cli`, or several with commas between them; empty for none.
    """

    def __init__(self, folder: Path, wheel: Path, extra: str) -> None:
        self.folder = folder
        venv.create(folder / "env", symlinks=True)
        (self._packages,) = (folder / "env/lib").glob("python*/site-packages")
        with zipfile.ZipFile(wheel) as file:
            file.extractall(self._packages)
        (about,) = metadata.distributions(name="blindgate", path=[str(self._packages)])
        for each in extra.split(","):
            for name in self._needed(about.requires or [], each):
                self._link(metadata.distribution(name))

    def _needed(self, requirements: list[str], extra: str) -> set[str]:
        found: set[str] = set()
        waiting = [(each, extra, requirements) for each in requirements]
        while waiting:
            text, wanted, own = waiting.pop()
            asked = Requirement(text)
            if asked.marker is not None and not asked.marker.evaluate({"extra": wanted}):
                continue
            for another in asked.extras or {""}:
                if asked.name == "blindgate":
                    waiting += [(each, another, own) for each in own]
                elif f"{asked.name}[{another}]" not in found:
                    found.add(f"{asked.name}[{another}]")
                    below = metadata.requires(asked.name) or []
                    waiting += [(each, another, below) for each in below]
        return {each.split("[")[0] for each in found}

    def _link(self, distribution: metadata.Distribution) -> None:
        for file in distribution.files or []:
            top = file.parts[0]
            if top not in ("..", "__pycache__", "bin"):
                link = self._packages / top
                if not link.exists():
                    link.symlink_to(Path(str(distribution.locate_file(top))))

    def run(self, *command: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run a module's command line in it, in an empty folder and with an empty home."""
        kept = {name: os.environ[name] for name in ("PATH", "TMPDIR") if name in os.environ}
        models = str(cache_folder())  # which the first test run filled
        home = self.folder / "home"
        home.mkdir(exist_ok=True)
        return subprocess.run(
            [self.folder / "env/bin/python", "-I", "-m", *map(str, command)],
            cwd=home,
            env={**kept, "HOME": str(home), "BLINDGATE_CACHE": models, "COLUMNS": "200"}
            | environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=500,
        )


@pytest.fixture(scope="module")
def environments(
    archives: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], Environment]:
    made: dict[str, Environment] = {}

    def environment(extra: str) -> Environment:
        if extra not in made:
            made[extra] = Environment(tmp_path_factory.mktemp(extra or "bare"), archives[0], extra)
        return made[extra]

    return environment


@pytest.fixture(scope="module")
def stack() -> Iterator[LiveStack]:
    with live_stack() as running:
        yield running


def succeeds(done: subprocess.CompletedProcess[str]) -> str:
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_both_archives_hold_the_page_if_it_was_built(archives: tuple[Path, Path]) -> None:
    built = (ROOT / PAGE).is_file()
    with zipfile.ZipFile(archives[0]) as wheel:
        assert (PAGE in wheel.namelist()) == built
    with tarfile.open(archives[1]) as source:
        names = {name.split("/", 1)[-1] for name in source.getnames()}
    assert (PAGE in names) == built
    assert "LICENSE" in names


def test_the_sdk_alone_detects(
    environments: Callable[[str], Environment], stack: LiveStack, coffee: Path
) -> None:
    program = environments("").folder / "use.py"
    program.write_text(
        "import sys\n"
        "from pathlib import Path\n"
        "from blindgate import Blindgate\n"
        "from blindgate.attestation import PcrSet, Root, Trust\n"
        "url, state, photo = sys.argv[1:]\n"
        "root = Root.from_pem((Path(state) / 'root.pem').read_bytes())\n"
        "trust = Trust(root, (PcrSet.from_file(Path(state) / 'pcrs.json'),))\n"
        "with Blindgate(url, trust=trust) as client:\n"
        "    print([each.label for each in client.detect(photo).detections])\n"
    )
    done = subprocess.run(
        [
            environments("").folder / "env/bin/python", "-I",
            program, stack.url, stack.running.state, coffee,
        ],
        capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
    assert "'cup'" in succeeds(done)


def test_the_command_line_encrypts_detects_and_verifies(
    environments: Callable[[str], Environment], stack: LiveStack, coffee: Path, tmp_path: Path
) -> None:
    cli, data_owner = environments("cli"), stack.running.client_environment()
    assert "encrypt" in succeeds(cli.run("blindgate", "--help"))
    encrypted = tmp_path / "coffee.png.encrypted"
    key = ("--key-id", stack.running.key_alias)
    succeeds(cli.run("blindgate", "encrypt", coffee, *key, "--output", encrypted, **data_owner))
    found = succeeds(cli.run("blindgate", "detect", encrypted, "--gateway", stack.url))
    assert "cup" in found
    pcrs, root = f"{stack.running.state}/pcrs.json", f"{stack.running.state}/root.pem"
    verified = cli.run("blindgate", "verify", stack.url, "--pcrs", pcrs, "--dev-root", root)
    assert "VERIFIED" in succeeds(verified)
    role = "arn:aws:iam::111122223333:role/parent"
    policy = cli.run("blindgate", "policy", "--pcrs", pcrs, "--role", role, "--admin", f"{role}-a")
    assert '"kms:Decrypt"' in succeeds(policy)


@pytest.mark.parametrize(
    ("extra", "command", "needs"),
    [
        ("", ("blindgate", "--help"), "blindgate[cli]"),
        ("", ("blindgate", "detect", "photo.jpg"), "blindgate[cli]"),
        ("", ("gateway",), "blindgate[gateway]"),
        ("cli", ("blindgate", "dev", "up"), "blindgate[stack]"),
        ("cli", ("blindgate", "models", "pull"), "blindgate[models]"),
        ("models", ("blindgate", "dev", "demo"), "blindgate[stack]"),
        ("cli,gateway", ("blindgate", "dev", "demo"), "blindgate[stack]"),
    ],
)
def test_a_missing_extra_is_one_line(
    environments: Callable[[str], Environment],
    extra: str,
    command: tuple[str, ...],
    needs: str,
) -> None:
    done = environments(extra).run(*command)
    assert done.returncode != 0
    assert f"pip install '{needs}'" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr


def test_what_needs_a_checkout_says_so(environments: Callable[[str], Environment]) -> None:
    stack = environments("stack")
    (stack.folder / "enclave.toml").write_text("")
    for command in (("image", "lock"), ("dev", "up", "--enclave", "emulated", "--no-console")):
        done = stack.run("blindgate", *command)
        assert done.returncode == 1
        assert "checkout" in done.stderr.splitlines()[-1]
        assert "Traceback" not in done.stderr


def test_the_demo_runs_from_a_wheel(
    environments: Callable[[str], Environment], tmp_path: Path
) -> None:
    done = environments("stack").run("blindgate", "dev", "demo", "--output", tmp_path / "out")
    assert re.search(r"cup\W+0\.9", succeeds(done))
    assert (tmp_path / "out/coffee.detections.png").is_file()
