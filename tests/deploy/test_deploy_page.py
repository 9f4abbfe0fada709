"""The commands of docs/deploy.md run as they are written, with stand-ins for Terraform and AWS.

What a reader types on their own machine runs in one shell, in a copy of what it uses of the
repository. `terraform` checks names and keeps what it was given; Secrets Manager and S3 are a small
server that AWS's own tools speak to; `blindgate` is the real one, but for the build of the image,
which takes a minute: it checks the configuration and the model, and writes the measurements of a
dev stack that then stands in for the deployment. What root types on an instance runs in a mount
namespace, as in test_user_data.py.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from devstack.nsm.root import DevRoot
from enclave_image.pcrs import Measurements
from gateway.settings import Settings
from tests.deploy import terraform as tf
from tests.deploy.fake_aws import FakeAws
from tests.deploy.test_allocator import allocator
from tests.deploy.test_user_data import ISOLATED, PCRS, STANDINS, Host
from tests.e2e.live import live_stack

PAGE = tf.ROOT / "docs" / "deploy.md"
HERE = Path(__file__).parent
MODEL = "ssd-mobilenet-v2-coco-int8"

#: `blindgate` with two differences: AWS's root is the dev stack's, and no image is built.
BLINDGATE = """
import hashlib, json, os, sys
from pathlib import Path

from blindgate.attestation import Root
from enclave_image import build
from enclave_image.pcrs import Measurements
from enclave_image.requirements import KmsRequirements, Requirements

state = Path(os.environ["STATE"])
root = Root.from_pem((state / "root.pem").read_bytes())

import blindgate.cli.verify, blindgate.client.trust
for module in list(sys.modules.values()):
    if getattr(module, "AWS_NITRO_ROOT", None) is not None and module.__name__ != "__main__":
        module.AWS_NITRO_ROOT = root

def not_built(recipe, **_):
    build.measured_files(recipe)  # the configuration and the model are fit to be measured
    values = json.loads((state / "pcrs.json").read_text())["Measurements"]
    class Built:
        eif = b"EIF"
        measurements = Measurements(*(bytes.fromhex(values[f"PCR{i}"]) for i in range(3)))
        sbom = "{}"
        kms = KmsRequirements(("us-east-1",), False)
        requirements = Requirements("x86_64", 2048, 2, kms, hashlib.sha256(b"EIF").hexdigest(), {})
    return Built

build.build = not_built
import enclave_image.cli
enclave_image.cli._report = lambda *_: None

from blindgate.cli import main
main()
"""

#: The dependencies of a release are fetched from PyPI, in minutes: test_release.py does it.
PYTHON = """#!/bin/bash
if [ "$1" = deploy/release.py ]; then
  test -f "$1" -a "$2" = -o; echo release > "$3"
else
  exec "{python}" "$@"
fi
"""


#: The console of a trial enclave; and too little memory, which a worker refuses.
NITRO_CLI = """#!/bin/bash
echo "nitro-cli $*" >> "{calls}"
case "$1 $*" in
  describe-eif*) echo '{pcrs}' ;;
  *--attach-console*) echo '[    0.000000] Linux version 6.12.117' ;;
  run-enclave*) echo '[ E36 ] Enclave boot failure' >&2; exit 36 ;;
  describe-enclaves*) echo '[]' ;;
  *) exit 31 ;;
esac
"""


def blocks(prompt: str, page: Path = PAGE) -> list[str]:
    """The commands of each block with that prompt, without it; lines of output are none."""
    found = []
    for text in re.findall(r"```console\n(.*?)```", page.read_text(), re.DOTALL):
        if text.startswith(prompt):
            lines = text.splitlines()
            found.append("\n".join(line.removeprefix(prompt) for line in lines))
    return found


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """What the commands use of the repository, in a copy."""
    if shutil.which("jq") is None:
        pytest.skip("there is no jq here, which the page asks for")
    folder = tmp_path / "repository"
    ignored = shutil.ignore_patterns(".terraform*", "*.tfstate*")
    shutil.copytree(tf.ROOT / "deploy", folder / "deploy", ignore=ignored)
    # As `make demo` leaves it.
    (folder / "out/demo").mkdir(parents=True)
    return folder


def program(path: Path, text: str) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)


@pytest.mark.e2e
def test_the_first_deployment_runs_as_it_is_written(checkout: Path, tmp_path: Path) -> None:
    from devstack.demo import default_photo

    shutil.copyfile(default_photo(), checkout / "photo.jpg")
    keys, applied = tmp_path / "keys.json", tmp_path / "applied"
    keys.write_text('{"version": 1, "keys": []}')
    folder = tmp_path / "bin"
    program(folder / "python", PYTHON.format(python=sys.executable))
    (tmp_path / "command.py").write_text(BLINDGATE)
    for name, script in (
        ("terraform", HERE / "fake_terraform.py"),
        ("blindgate", tmp_path / "command.py"),
    ):
        program(folder / name, f'#!/bin/bash\nexec "{sys.executable}" "{script}" "$@"\n')
    with (
        live_stack(environment={"BLINDGATE_API_KEYS": str(keys)}) as stack,
        FakeAws(keys).serve() as aws,
    ):
        commands = "set -euo pipefail\n" + "\n".join(blocks("$ "))
        commands = commands.replace("https://images.example.com", stack.url)
        done = subprocess.run(
            ["bash"],
            input=commands,
            cwd=checkout,
            env=os.environ
            | {
                "PATH": f"{folder}:{Path(sys.executable).parent}:{os.environ['PATH']}",
                "PYTHONPATH": str(tf.ROOT),
                "STATE": stack.running.state,
                "KEY_ARN": stack.running.key_arn,
                "APPLIED": str(applied),
                "COLUMNS": "200",
                "AWS_ENDPOINT_URL": aws.url,
                "AWS_ACCESS_KEY_ID": "AKIDEXAMPLE",
                "AWS_SECRET_ACCESS_KEY": "example",
                "AWS_DEFAULT_REGION": "us-east-1",
                "AWS_CONFIG_FILE": "/dev/null",
                "HOME": str(tmp_path),
                "BLINDGATE_CACHE": str(_cache()),
            },
            capture_output=True,
            text=True,
            check=False,
            timeout=540,
        )
        assert done.returncode == 0, done.stdout + done.stderr
    assert "VERIFIED" in done.stdout
    assert "cup" in done.stdout
    assert f'key_arns = ["{stack.running.key_arn}"]' in (checkout / "out/blue.toml").read_text()
    assert [name.partition("/")[2].split("/")[1] for name in aws.objects] == [
        "blue",
        "blindgate-release.tar",
    ]
    (first, with_policy, with_fleet) = map(json.loads, applied.read_text().splitlines())
    assert "pcr_files" not in first
    assert with_policy["pcr_files"] == {"blue": f"{checkout}/out/blue.pcrs.json"}
    assert "fleets" not in with_policy
    assert with_fleet["fleets"]["blue"]["eif"]["version_id"] == "v1"
    (record,) = json.loads(keys.read_text())["keys"]
    assert record["name"] == "first-client"


def test_the_first_commands_of_the_page_about_the_image_run(checkout: Path, tmp_path: Path) -> None:
    state, folder = tmp_path / "state", tmp_path / "bin"
    state.mkdir()
    DevRoot.load_or_create(state)
    Measurements(*(bytes([at]) * 48 for at in (1, 2, 3))).write(state / "pcrs.json")
    (tmp_path / "command.py").write_text(BLINDGATE)
    program(folder / "python", PYTHON.format(python=sys.executable))
    command = f'#!/bin/bash\nexec "{sys.executable}" "{tmp_path}/command.py" "$@"\n'
    program(folder / "blindgate", command)
    first = blocks("$ ", tf.ROOT / "docs" / "image.md")[0].partition("\nblindgate image pcrs")[0]
    done = subprocess.run(
        ["bash"],
        input=f"set -euo pipefail\n{first}\n",
        cwd=checkout,
        env=os.environ
        | {
            "PATH": f"{folder}:{os.environ['PATH']}",
            "PYTHONPATH": str(tf.ROOT),
            "STATE": str(state),
            "BLINDGATE_CACHE": str(_cache()),
        },
        capture_output=True,
        text=True,
        check=False,
        timeout=500,
    )
    assert done.returncode == 0, done.stderr
    assert f"--model {MODEL} " in first
    written = json.loads((checkout / "out/blindgate.pcrs.json").read_text())
    assert written["Measurements"]["PCR0"] == "01" * 48


def _cache() -> Path:
    from blindgate.cache import cache_folder

    return cache_folder()


def test_the_model_that_is_deployed_is_the_default() -> None:
    from models.registry import DEFAULT

    assert DEFAULT == MODEL
    (image,) = [block for block in blocks("$ ") if "image build" in block]
    assert f"--model {MODEL} " in image


def test_by_hand_runs_as_it_is_written_and_so_does_the_change_on_one_instance(
    tmp_path: Path,
) -> None:
    if (
        shutil.which("unshare") is None
        or subprocess.run(
            ["unshare", "--map-root-user", "--mount", "mount", "-t", "tmpfs", "none", "/opt"],
            capture_output=True,
            check=False,
        ).returncode
    ):
        pytest.skip("this machine lets nobody make a mount namespace")
    first_hour, change, by_hand = blocks("# ")
    host = Host(tmp_path, "")
    home, folder, calls = tmp_path / "home", tmp_path / "bin", tmp_path / "calls"
    home.mkdir()
    shutil.copy(host.folder / "release.tar.gz", home / "blindgate-release.tar.gz")
    for name in ("blue", "green"):
        shutil.copy(host.eif_path, home / f"{name}.eif")
        (home / f"{name}.pcrs.json").write_text(PCRS)
        needs = {"memory_mib": 2048, "cpus": 2}
        (home / f"{name}.requirements.json").write_text(json.dumps(needs))
    for name in ("dnf", "systemctl", "systemd-sysusers"):
        write = f'echo "${{0##*/}} $*" >> "{calls}"\n'
        program(folder / name, f"#!/bin/bash\nset -e\n{write}{STANDINS[name]}\n")
    program(folder / "modprobe", "#!/bin/bash\n")
    program(folder / "nitro-cli", NITRO_CLI.format(calls=calls, pcrs=PCRS))
    program(folder / "curl", f'#!/bin/bash\necho "curl $*" >> "{calls}"\n')
    program(folder / "python3.11", f'#!/bin/bash\nexec "{sys.executable}" "$@"\n')
    script, left = tmp_path / "script.sh", tmp_path / "left"
    before = "cp /etc/blindgate/gateway.env /etc/blindgate/gateway.env.first"
    # The release of this test has no dependencies, so its commands are those of this checkout.
    command = f'#!/bin/bash\nexec {sys.executable} -m blindgate "$@"'
    doctor = f"cat > /opt/blindgate/current/venv/bin/blindgate <<'END'\n{command}\nEND\n"
    doctor += "chmod +x /opt/blindgate/current/venv/bin/blindgate"
    # The last command, the doctor, rightly finds much to say about a machine without enclaves.
    script.write_text(
        f"set -euo pipefail\n{by_hand}\n{before}\n{doctor}\n"
        f'( {first_hour}\n) || test $? = 1\ncd "$HOME"\n{change}\n'
    )
    done = subprocess.run(
        ["unshare", "--map-root-user", "--mount", "bash", "-c", ISOLATED, "-", script, left],
        cwd=home,
        env={
            "PATH": f"{folder}:{os.environ['PATH']}",
            "STANDINS": str(folder),
            "PIP_CONFIG_FILE": "/dev/null",
            "PYTHONPATH": str(tf.ROOT),
            "HOME": str(home),
            # Whatever metadata service this machine may have is none of a test's business.
            "AWS_EC2_METADATA_SERVICE_ENDPOINT": "http://127.0.0.1:1",
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    logs = left / "var/log/blindgate"
    assert (logs / "first-hour-measurements.txt").read_text() == ""
    assert "Linux version" in (logs / "first-hour-console.txt").read_text()
    assert "E36" in (logs / "first-hour-memory.txt").read_text()
    report = json.loads((logs / "report.json").read_text())
    assert report["ok"] is False
    assert "Linux version" in report["files"]["/var/log/blindgate/first-hour-console.txt"]
    said = calls.read_text().splitlines()
    assert said[0] == "dnf install -y aws-nitro-enclaves-cli python3.11 logrotate file"
    assert said[-1] == "systemctl disable --now blindgate-enclave@blue"
    assert "curl -s localhost:8080/readyz" in said
    units = {path.name for path in (left / "etc/systemd/system").glob("*.service")}
    for unit in re.findall(r"blindgate-[\w-]+@?", " ".join(said)):
        assert f"{unit}.service" in units
    assert (left / "var/lib/blindgate/green.eif").is_file()
    reserved = (left / "etc/nitro_enclaves/allocator.yaml").read_text()
    assert "memory_mib: 2048\n" in reserved
    for name, sets in (("gateway.env.first", {"blue"}), ("gateway.env", {"blue", "green"})):
        text = (left / "etc/blindgate" / name).read_text()
        values = dict(line.removeprefix("BLINDGATE_").split("=", 1) for line in text.splitlines())
        settings = Settings.model_validate(
            {key.lower(): value for key, value in values.items()}, strict=False
        )
        assert {path.stem for path in settings.pcrs} == sets


def test_the_sizes_are_those_of_the_image_and_of_the_allocator() -> None:
    mib, given = re.findall(
        r"The default image \((\d+) MiB\) is\s+given ([\d,]+) MiB", PAGE.read_text()
    )[0]
    about = (tf.ROOT / "docs" / "image.md").read_text()
    assert f"| EIF | {mib} MiB:" in about
    assert allocator.size(int(mib) * 2**20, 2).memory_mib == int(given.replace(",", ""))
