"""The wheel that clients install, in environments that hold nothing but what one extra names.

pip installs the wheel; the environments are offline, and link those packages of the one that runs
the tests that the wheel's metadata asks for. So a requirement that is not declared is not there.
"""

from __future__ import annotations

import configparser
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

from devstack.page import PAGE
from tests.e2e.live import LiveStack, live_stack
from tests.requirements import GROUPS

ROOT = Path(__file__).resolve().parents[2]
CHECKOUT_COMMANDS = ("audit", "dev", "doctor", "image", "keys", "models")

pytestmark = pytest.mark.e2e


def build(project: Path, folder: Path, *targets: str) -> None:
    words = [each for target in targets for each in ("-t", target)]
    done = subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-d", str(folder), *words],
        cwd=project,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The client's wheel and source archive, and the wheel of the applications."""
    folder = tmp_path_factory.mktemp("dist")
    build(ROOT, folder, "wheel", "sdist")
    build(ROOT / "applications", folder, "wheel")
    return folder


def only(folder: Path, pattern: str) -> Path:
    (found,) = folder.glob(pattern)
    return found


class Environment:
    """A virtual environment in which wheels were installed with what they need.

    Args:
        folder: Where it is made.
        wheels: To install, in this order.
        extra: Of the first wheel, such as `cli`; empty for none.
        requirements: Further ones, as a dependency group lists them.
    """

    def __init__(
        self, folder: Path, wheels: list[Path], extra: str, requirements: list[str]
    ) -> None:
        self.folder = folder
        self.bin = folder / "env/bin"
        venv.create(folder / "env", symlinks=True)
        self.packages = only(folder, "env/lib/python*/site-packages")
        pip = [sys.executable, "-m", "pip", "--python", str(self.bin / "python"), "install"]
        subprocess.run(
            [*pip, "--quiet", "--no-deps", "--no-index", *map(str, wheels)],
            capture_output=True,
            check=True,
        )
        (client,) = metadata.distributions(name="blindgate", path=[str(self.packages)])
        for name in needed(client.requires or [], extra) | needed(requirements, ""):
            self._link(metadata.distribution(name))

    def _link(self, distribution: metadata.Distribution) -> None:
        for file in distribution.files or []:
            top = file.parts[0]
            if top not in ("..", "__pycache__", "bin"):
                link = self.packages / top
                if not link.exists():
                    link.symlink_to(Path(str(distribution.locate_file(top))))

    def run(self, *command: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run one of its programs in an empty folder and with an empty home."""
        kept = {name: os.environ[name] for name in ("PATH", "TMPDIR") if name in os.environ}
        home = self.folder / "home"
        home.mkdir(exist_ok=True)
        return subprocess.run(
            [self.bin / command[0], *map(str, command[1:])],
            cwd=home,
            env={**kept, "HOME": str(home), "COLUMNS": "200"} | environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=500,
        )


def needed(requirements: list[str], extra: str) -> set[str]:
    """The names of all distributions that these requirements and their own ones ask for."""
    found: set[str] = set()
    waiting = [(each, extra) for each in requirements]
    while waiting:
        text, wanted = waiting.pop()
        asked = Requirement(text)
        if asked.marker is not None and not asked.marker.evaluate({"extra": wanted}):
            continue
        for another in asked.extras or {""}:
            if f"{asked.name}[{another}]" not in found:
                found.add(f"{asked.name}[{another}]")
                waiting += [(each, another) for each in metadata.requires(asked.name) or []]
    return {each.split("[")[0] for each in found}


@pytest.fixture(scope="module")
def environments(
    dist: Path, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], Environment]:
    """The client's environments by the name of an extra, each made once."""
    made: dict[str, Environment] = {}

    def environment(extra: str) -> Environment:
        if extra not in made:
            folder = tmp_path_factory.mktemp(extra or "bare")
            made[extra] = Environment(folder, [only(dist, "blindgate-*.whl")], extra, [])
        return made[extra]

    return environment


@pytest.fixture(scope="module")
def instance(dist: Path, tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """What install.sh makes on a parent instance."""
    wheels = [only(dist, "blindgate-*.whl"), only(dist, "blindgate_applications-*.whl")]
    return Environment(tmp_path_factory.mktemp("instance"), wheels, "", GROUPS["gateway"])


@pytest.fixture(scope="module")
def stack() -> Iterator[LiveStack]:
    with live_stack() as running:
        yield running


def succeeds(done: subprocess.CompletedProcess[str]) -> str:
    assert done.returncode == 0, done.stderr
    return done.stdout


def fails_in_one_line(done: subprocess.CompletedProcess[str]) -> str:
    assert done.returncode != 0
    assert done.stdout == ""
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr
    return done.stderr


def commands(help_text: str) -> set[str]:
    """The commands that a help page lists."""
    return set(re.findall(r"^│ ([a-z]+) ", help_text, re.MULTILINE))


def top_level(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as file:
        return {name.split("/")[0] for name in file.namelist()}


def test_clients_install_one_package_and_one_program(dist: Path) -> None:
    wheel = only(dist, "blindgate-*.whl")
    (about,) = {name for name in top_level(wheel) if name.endswith(".dist-info")}
    assert top_level(wheel) == {"blindgate", about}
    with zipfile.ZipFile(wheel) as file:
        names = file.namelist()
        entries = configparser.ConfigParser()
        entries.read_string(file.read(f"{about}/entry_points.txt").decode())
    assert {"blindgate/py.typed", "blindgate/cli/detect.py"} <= set(names)
    assert not [name for name in names if name.startswith("enclave_image")]
    assert {section: dict(entries[section]) for section in entries.sections()} == {
        "console_scripts": {"blindgate": "blindgate.cli:main"}
    }


def test_the_source_archive_holds_the_client_and_its_licence(dist: Path) -> None:
    with tarfile.open(only(dist, "blindgate-*.tar.gz")) as source:
        names = {name.split("/", 1)[-1] for name in source.getnames()}
    assert {"LICENSE", "pyproject.toml", "README.md", "blindgate/__init__.py"} <= names
    assert {name.split("/")[0] for name in names if "/" in name} == {"blindgate"}


def test_the_wheel_of_the_applications_holds_the_gateway_and_its_page(dist: Path) -> None:
    wheel = only(dist, "blindgate_applications-*.whl")
    (about,) = {name for name in top_level(wheel) if name.endswith(".dist-info")}
    assert top_level(wheel) == {"gateway", about}
    with zipfile.ZipFile(wheel) as file:
        names = set(file.namelist())
        metadata_text = file.read(f"{about}/METADATA").decode()
    sources = (ROOT / "gateway").rglob("*.py")
    modules = {str(path.relative_to(ROOT)) for path in sources if "node_modules" not in path.parts}
    assert modules <= names
    assert (PAGE in names) == (ROOT / PAGE).is_file()
    assert "Private :: Do Not Upload" in metadata_text


def test_there_is_one_extra(environments: Callable[[str], Environment]) -> None:
    """The tests below cover each extra that the wheel offers, and none at all."""
    (about,) = metadata.distributions(name="blindgate", path=[str(environments("").packages)])
    assert about.metadata.get_all("Provides-Extra") == ["cli"]


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
    words = (stack.url, stack.running.state, coffee)
    assert "'cup'" in succeeds(environments("").run("python", "-I", program, *words))


def test_the_command_line_describes_itself(environments: Callable[[str], Environment]) -> None:
    cli = environments("cli")
    assert succeeds(cli.run("blindgate", "--version")).startswith("blindgate ")
    assert "--pcrs" in succeeds(cli.run("blindgate", "verify", "--help"))
    listed = commands(succeeds(cli.run("blindgate", "--help")))
    assert {"detect", "encrypt", "policy", "verify"} <= listed
    assert not listed & set(CHECKOUT_COMMANDS)


def test_the_command_line_encrypts_detects_and_verifies(
    environments: Callable[[str], Environment], stack: LiveStack, coffee: Path, tmp_path: Path
) -> None:
    cli, data_owner = environments("cli"), stack.running.client_environment()
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


@pytest.mark.parametrize("words", [["--version"], ["--help"], ["detect", "photo.jpg"]])
def test_without_the_extra_the_command_line_names_it(
    environments: Callable[[str], Environment], words: list[str]
) -> None:
    said = fails_in_one_line(environments("").run("blindgate", *words))
    assert "pip install 'blindgate[cli]'" in said


@pytest.mark.parametrize("extra", ["", "cli"])
@pytest.mark.parametrize("command", CHECKOUT_COMMANDS)
def test_a_command_of_a_checkout_says_where_it_runs(
    environments: Callable[[str], Environment], extra: str, command: str
) -> None:
    said = fails_in_one_line(environments(extra).run("blindgate", command, "--help"))
    assert f"`{command}` is not part of the installed package" in said
    assert "make install" in said


def test_a_package_of_the_users_own_is_never_taken_for_ours(
    environments: Callable[[str], Environment],
) -> None:
    """Packages named `models` are common, and this one has a module `cli`, too."""
    cli = environments("cli")
    folder = cli.packages / "models"
    folder.mkdir()
    for name in ("__init__.py", "cli.py"):
        (folder / name).write_text("raise SystemExit('the wrong package was run')\n")
    said = fails_in_one_line(cli.run("blindgate", "models", "list"))
    assert "not part of the installed package" in said
    assert "detect" in succeeds(cli.run("blindgate", "--help"))


def test_an_instance_runs_the_gateway(instance: Environment) -> None:
    assert "no measurements given" in fails_in_one_line(instance.run("blindgate-gateway"))
    assert "--pcrs" in succeeds(instance.run("python", "-I", "-m", "gateway", "--help"))


def test_an_instance_has_its_commands_and_none_of_a_checkout(instance: Environment) -> None:
    listed = commands(succeeds(instance.run("blindgate", "--help")))
    assert listed & set(CHECKOUT_COMMANDS) == {"audit", "doctor", "keys"}
    assert "create" in succeeds(instance.run("blindgate", "keys", "--help"))
    said = fails_in_one_line(instance.run("blindgate", "dev", "up"))
    assert "`dev` is not part of the installed package" in said


def test_an_instance_runs_the_doctor(instance: Environment) -> None:
    # Whatever metadata service this machine may have is none of a test's business.
    nowhere = {"AWS_EC2_METADATA_SERVICE_ENDPOINT": "http://127.0.0.1:1"}
    done = instance.run("blindgate", "doctor", "--json", **nowhere)
    assert done.returncode in (0, 1), done.stderr
    assert '"name": "enclave-support"' in done.stdout
    assert "has a bug" not in done.stdout
