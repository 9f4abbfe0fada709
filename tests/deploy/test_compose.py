"""docker-compose.dev.yml: the same stack as `blindgate dev up`, as containers.

No container engine is needed: the file is compared with what the process supervisor is told, and
(`make test-deploy`) checked by the real docker compose, which holds the specification's schema.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from blindgate.policy.lint import lint
from devstack.places import Places
from devstack.stack import GATEWAY_PORT, KMS_PORT, Options, Stack, free_port
from devstack.supervisor import Program, Supervisor
from tests.deploy import terraform as tf

FILE = tf.ROOT / "docker-compose.dev.yml"
STATE = "/var/lib/blindgate"
#: Steps that `Stack.start` takes itself, between programs.
STEPS = {"root", "prepare"}


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load(FILE.read_text())
    return loaded


@pytest.fixture
def services(compose: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = compose["services"]
    return found


@pytest.fixture
def programs(tmp_path: Path) -> list[Program]:
    """What the supervisor is told, in its order."""
    places = Places(tmp_path / "state", tmp_path / "state" / "run")
    places.state.mkdir()
    stack = Stack(places, Options(model=Path("/model")), Supervisor(None))
    return [stack._kms(), *stack.nsm(), stack.proxy(), stack.worker(), stack.gateway()]


def in_container(text: str, tmp_path: Path) -> str:
    return text.replace(str(tmp_path / "state"), STATE)


def test_the_services_are_the_programs(services: dict[str, Any], programs: list[Program]) -> None:
    running = set(services) - STEPS - {"client"}
    assert running == {program.name for program in programs}


def test_there_are_services_and_programs(services: dict[str, Any], programs: list[Program]) -> None:
    """What the tests below loop over."""
    assert [each.name for each in programs] == ["kms", "nsm", "vsock-proxy", "worker", "gateway"]
    assert set(services) == {each.name for each in programs} | STEPS | {"client"}


def test_every_program_has_the_same_command(
    services: dict[str, Any], programs: list[Program], tmp_path: Path
) -> None:
    for program in programs:
        interpreter, *arguments = program.command
        assert interpreter == sys.executable
        service = services[program.name]
        assert service["entrypoint"] == ["python"]
        assert service["command"] == [in_container(each, tmp_path) for each in arguments]


def test_every_program_has_the_same_environment(
    services: dict[str, Any], programs: list[Program], tmp_path: Path
) -> None:
    for program in programs:
        told = dict(services[program.name].get("environment", {}))
        if program.name == "gateway":
            # Published to this machine's loopback address only: the next but one test.
            assert told.pop("BLINDGATE_HOST") == "0.0.0.0"
            assert told.pop("BLINDGATE_ALLOW_ANONYMOUS") == "true"
        assert told == {
            name: in_container(value, tmp_path) for name, value in program.environment.items()
        }


def test_services_start_in_the_supervisors_order(
    services: dict[str, Any], programs: list[Program]
) -> None:
    order = ["root", "kms", "prepare"] + [each.name for each in programs if each.name != "kms"]
    for earlier, later in itertools.pairwise(order):
        (condition,) = services[later]["depends_on"].items()
        finished = "service_completed_successfully" if earlier in STEPS else "service_healthy"
        assert condition == (earlier, {"condition": finished})


def test_only_the_gateway_is_published_and_only_to_this_machine(services: dict[str, Any]) -> None:
    published = {name: each["ports"] for name, each in services.items() if "ports" in each}
    assert published == {"gateway": [f"127.0.0.1:{GATEWAY_PORT}:{GATEWAY_PORT}"]}
    assert f"127.0.0.1:{KMS_PORT}" in services["kms"]["command"]


def test_the_worker_has_no_network_and_no_disk(services: dict[str, Any]) -> None:
    worker = services["worker"]
    assert worker["network_mode"] == "none"
    written = [each for each in worker["volumes"] if not each.endswith(":ro")]
    assert written == ["run:/var/lib/blindgate/run"]


def test_the_gateway_can_change_nothing_but_its_sockets(services: dict[str, Any]) -> None:
    written = [each for each in services["gateway"]["volumes"] if not each.endswith(":ro")]
    assert written == ["run:/var/lib/blindgate/run"]


def test_every_container_is_hardened_and_none_is_root(services: dict[str, Any]) -> None:
    for service in services.values():
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert service["user"] == "10001:10001"


def test_everything_that_keeps_running_has_a_health_check(services: dict[str, Any]) -> None:
    for name, service in services.items():
        assert ("healthcheck" in service) == (name not in STEPS | {"client"}), name


@pytest.mark.parametrize(
    "name", ["gateway/Dockerfile", "devstack/Dockerfile", "enclave_app/Dockerfile"]
)
class TestDockerfile:
    def read(self, name: str) -> str:
        return (tf.ROOT / name).read_text()

    def test_packages_come_by_hash(self, name: str) -> None:
        text = " ".join(self.read(name).replace("\\\n", " ").split())
        # `pip install`, and `pip --python … install`.
        commands = re.split(r"\bpip (?:--\S+ \S+ )*install ", text)[1:]
        assert commands
        for command in commands:
            assert command.startswith(
                ("--require-hashes", "--only-binary :all: --require-hashes", "--no-deps")
            )

    def test_it_runs_as_the_composes_user(self, name: str) -> None:
        users = [line for line in self.read(name).splitlines() if line.startswith("USER ")]
        assert users == ["USER 10001:10001"]

    def test_everything_that_it_copies_is_let_through(self, name: str) -> None:
        through = (tf.ROOT / ".dockerignore").read_text().splitlines()
        copied = [
            source
            for line in self.read(name).splitlines()
            if line.startswith("COPY ") and "--from" not in line
            for source in line.split()[1:-1]
        ]
        assert copied
        for source in copied:
            assert (
                source == "."
                or f"!{source.split('/')[0]}" in through
                or any(each.startswith(f"!{source}") for each in through)
            ), source
            assert (tf.ROOT / source).exists()


def test_the_gateways_packages_cannot_open_an_image() -> None:
    lock = (tf.ROOT / "locks" / "gateway.txt").read_text().lower()
    for package in ("onnxruntime", "pillow", "numpy", "aws-encryption-sdk"):
        assert f"\n{package}==" not in f"\n{lock}", package


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "state"


def test_preparing_does_what_the_stack_does_itself(folder: Path, tmp_path: Path) -> None:
    """The two steps around a real dev KMS, as the containers run them."""
    model = tmp_path / "model"
    model.mkdir()
    (model / "model.toml").write_text("")

    def step(name: str, *arguments: str) -> None:
        command = [sys.executable, "-m", "devstack.prepare", name, "--state", str(folder)]
        done = subprocess.run([*command, *arguments], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr

    step("root")
    assert (folder / "root.pem").is_file()
    asyncio.run(_prepare_key(folder, model))
    policy = (folder / "key-policy.json").read_text()
    measured = json.loads((folder / "pcrs.json").read_text())["Measurements"]["PCR0"]
    assert measured in policy
    assert not [each for each in lint(policy) if each.severity.value == "error"]
    assert (folder / "vsock-proxy.yaml").is_file()
    assert "key_arns" in (folder / "enclave.toml").read_text()


async def _prepare_key(folder: Path, model: Path) -> None:
    from devstack.prepare import Preparation

    places = Places.prepare(folder)
    options = Options(model=model, kms_port=free_port())
    async with Supervisor(None) as supervisor:
        stack = Preparation(places, options)
        await supervisor.start(stack._kms())
        await asyncio.to_thread(stack.prepare)


class TestDockerCompose:
    """The real docker compose; `config` needs no engine."""

    def config(self, tools: Path, path: Path) -> subprocess.CompletedProcess[str]:
        script = "import compose, pathlib; print(pathlib.Path(compose.__file__).parent)"
        place = subprocess.run(
            [tools / "python", "-c", script], capture_output=True, text=True, check=True
        )
        # Not the package's own command, which loses the exit code.
        program = Path(place.stdout.strip()) / "docker-compose"
        return subprocess.run(
            [program, "-f", path, "config", "--format", "json"],
            capture_output=True,
            text=True,
            check=False,
        )

    def test_it_accepts_the_file(self, tools: Path) -> None:
        done = self.config(tools, FILE)
        assert (done.returncode, done.stderr) == (0, "")
        assert set(json.loads(done.stdout)["services"]) >= {"kms", "nsm", "worker", "gateway"}

    def test_it_would_refuse_a_wrong_one(self, tools: Path, tmp_path: Path) -> None:
        text = FILE.read_text().replace("    ports:\n", "    prots:\n")
        (tmp_path / "wrong.yml").write_text(text)
        done = self.config(tools, tmp_path / "wrong.yml")
        assert done.returncode != 0
        assert "prots" in done.stderr
