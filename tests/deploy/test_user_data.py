"""The script that an instance starts with, run from its first line to its last.

In a mount namespace of its own, whose /etc, /opt, /var/lib and /var/log are empty, with stand-ins
for what needs AWS or a machine: dnf, aws, modprobe, systemctl. Everything else is the real thing,
install.sh and allocator.py of the release among it.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.deploy import terraform as tf

TEMPLATE = tf.SOURCES / "modules" / "gateway" / "user_data.sh.tftpl"
PCRS = json.dumps({f"PCR{index}": "a" * 96 for index in range(3)})

#: What packages bring that the script relies on; the other stand-ins only write down their calls.
STANDINS = {
    "dnf": "mkdir -p /etc/systemd/system /etc/logrotate.d /etc/nitro_enclaves "
    "/opt/aws/amazon-cloudwatch-agent/bin /opt/aws/amazon-cloudwatch-agent/etc\n"
    'cp "$STANDINS/modprobe" /opt/aws/amazon-cloudwatch-agent/bin/amazon-cloudwatch-agent-ctl',
    "aws": 'test "$1 $2" = "s3api get-object"; shift 2\n'
    'while [ $# -gt 1 ]; do case "$1" in --*) printf -v "${1//-/_}" %s "$2"; shift 2;; esac; done\n'
    'cp "$BUCKETS/$__bucket/$__key@$__version_id" "$1"; echo "{}"',
    "modprobe": "",
    "systemctl": "",
    "systemd-sysusers": 'test -s "$1"',
}

ISOLATED = """
set -e
for folder in /etc /opt /var/lib /var/log; do mount -t tmpfs none "$folder"; done
status=0
bash "$1" || status=$?
for folder in etc opt var/lib var/log; do
  mkdir -p "$2/$folder" && cp -a "/$folder/." "$2/$folder/"
done
exit $status
"""


@dataclass(frozen=True)
class Instance:
    """What is left after the script.

    Attributes:
        root: A copy of the instance's /etc, /opt, /var/lib and /var/log.
        calls: Every call of a stand-in.
        code: The script's exit code.
        output: What it wrote to standard output.
        errors: What it wrote to standard error.
    """

    root: Path
    calls: list[str]
    code: int
    output: str
    errors: str

    def read(self, path: str) -> str:
        return (self.root / path).read_text()

    def shipped(self) -> dict[str, str]:
        """The files that the CloudWatch agent ships, and the end of each one's stream."""
        agent = json.loads(self.read("opt/aws/amazon-cloudwatch-agent/etc/blindgate.json"))
        entries = agent["logs"]["logs_collected"]["files"]["collect_list"]
        assert {each["log_group_name"] for each in entries} == {"/blindgate/blindgate/gateway"}
        return {
            each["file_path"]: each["log_stream_name"].removeprefix("blue/{instance_id}")
            for each in entries
        }


class Host:
    """A bucket, stand-ins, and a way to run a script among them."""

    def __init__(self, folder: Path, program: str) -> None:
        self.folder = folder
        self.program = program
        self.bucket = folder / "buckets" / "artifacts"
        eif = self.eif_path = folder / "blue.eif"
        with eif.open("wb") as file:
            file.truncate(100 * 1024 * 1024)
        self.eif = self.store(eif, "blindgate/1.eif", "v1")
        self.release = self.store(self.make_release(), "release/1.gz", "v2")

    def store(self, path: Path, key: str, version: str) -> dict[str, str]:
        place = self.bucket / f"{key}@{version}"
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, place)
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        return {"key": key, "version_id": version, "sha256": digest}

    def make_release(self, *, quick: bool = False) -> Path:
        """The real systemd folder, no dependencies, and empty packages in place of ours.

        Args:
            quick: An install.sh that does nothing, for what is not about it.
        """
        wheels = [self._empty_wheel(name) for name in ("blindgate", "blindgate_applications")]
        (self.folder / "requirements.txt").write_text("")
        path = self.folder / "release.tar.gz"
        with tarfile.open(path, "w:gz") as archive_file:
            for wheel in wheels:
                archive_file.add(wheel, f"wheels/{wheel.name}")
            archive_file.add(self.folder / "requirements.txt", "requirements.txt")
            for source in (tf.ROOT / "deploy" / "systemd").iterdir():
                if source.is_file() and not (quick and source.name == "install.sh"):
                    archive_file.add(source, f"systemd/{source.name}")
            if quick:
                nothing = Path(shutil.which("true") or "/bin/true")
                archive_file.add(nothing.resolve(), "systemd/install.sh")
        return path

    def _empty_wheel(self, name: str) -> Path:
        wheel = self.folder / f"{name}-0-py3-none-any.whl"
        with zipfile.ZipFile(wheel, "w") as archive:
            about = f"{name}-0.dist-info"
            archive.writestr(
                f"{about}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 0\n"
            )
            archive.writestr(
                f"{about}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
            )
            archive.writestr(f"{about}/RECORD", "")
        return wheel

    def render(self, **changed: Any) -> Path:
        """The script as Terraform writes it."""
        values = {
            "region": "eu-central-1",
            "bucket": "artifacts",
            "eif": self.eif,
            "release": self.release,
            "slots": 1,
            "cpus": 2,
            "environment": {"BLINDGATE_PORT": "8080", "BLINDGATE_ENCLAVES": "vsock://16:5005"},
            "pcr_sets": {"blue": PCRS},
            "log_group": "/blindgate/blindgate/gateway",
            "fleet": "blue",
            "needs": None,
            "fips": False,
        } | changed
        module = self.folder / "render"
        module.mkdir()
        (module / "main.tf").write_text(
            'variable "path" {}\nvariable "json" {}\n'
            'output "text" { value = templatefile(var.path, jsondecode(var.json)) }\n'
        )
        told = {"path": str(TEMPLATE), "json": json.dumps(values)}
        (module / "terraform.tfvars.json").write_text(json.dumps(told))
        terraform = tf.Terraform(self.program, module)
        terraform.init()
        terraform("apply", "-auto-approve", "-input=false", "-no-color")
        script = self.folder / "user-data.sh"
        script.write_text(terraform("output", "-raw", "text"))
        return script

    def run(self, script: Path) -> Instance:
        standins, calls, left = self.folder / "bin", self.folder / "calls", self.folder / "left"
        standins.mkdir()
        calls.touch()
        for name, body in STANDINS.items():
            write = f'echo "${{0##*/}} $*" >> "{calls}"\n'
            (standins / name).write_text(f"#!/bin/bash\nset -e\n{write}{body}\n")
        (standins / "python3.11").write_text(f'#!/bin/bash\nexec "{sys.executable}" "$@"\n')
        for path in standins.iterdir():
            path.chmod(0o755)
        done = subprocess.run(
            ["unshare", "--map-root-user", "--mount", "bash", "-c", ISOLATED, "-", script, left],
            env={
                "PATH": f"{standins}:{os.environ['PATH']}",
                "STANDINS": str(standins),
                "BUCKETS": str(self.folder / "buckets"),
                "PIP_CONFIG_FILE": "/dev/null",
            },
            capture_output=True,
            text=True,
            check=False,
        )
        called = calls.read_text().splitlines()
        return Instance(left, called, done.returncode, done.stdout, done.stderr)


@pytest.fixture
def host(tmp_path: Path, program: str) -> Host:
    if (
        shutil.which("unshare") is None
        or subprocess.run(
            ["unshare", "--map-root-user", "--mount", "mount", "-t", "tmpfs", "none", "/opt"],
            capture_output=True,
            check=False,
        ).returncode
    ):
        pytest.skip("this machine lets nobody make a mount namespace")
    return Host(tmp_path, program)


def test_it_runs_to_its_end_and_starts_the_services(host: Host) -> None:
    instance = host.run(host.render())
    assert (instance.code, instance.errors) == (0, "")
    assert instance.calls[0] == (
        "dnf install -y -q aws-nitro-enclaves-cli python3.11 amazon-cloudwatch-agent logrotate file"
    )
    assert instance.calls[-1] == (
        "systemctl enable --now blindgate-journal.service blindgate-vsock-proxy.service "
        "blindgate-enclave@blue.service blindgate-gateway.service"
    )
    allocator = instance.calls.index("systemctl restart nitro-enclaves-allocator.service")
    assert instance.calls.index("modprobe nitro_enclaves") < allocator < len(instance.calls) - 1

    assert instance.read("etc/blindgate/gateway.env").splitlines() == [
        "BLINDGATE_ENCLAVES=vsock://16:5005",
        "BLINDGATE_PORT=8080",
    ]
    assert json.loads(instance.read("etc/blindgate/pcrs/blue.json")) == json.loads(PCRS)
    assert instance.read("etc/blindgate/host.env") == (
        "BLINDGATE_REGION=eu-central-1\nBLINDGATE_KMS_HOST=kms.eu-central-1.amazonaws.com\n"
    )
    assert "address: kms.eu-central-1.amazonaws.com" in instance.read(
        "etc/blindgate/vsock-proxy.yaml"
    )
    assert "memory_mib: 1856\n" in instance.read("etc/nitro_enclaves/allocator.yaml")
    assert "BLINDGATE_MEMORY=1856\n" in instance.read("etc/blindgate/enclave-blue.env")
    units = {path.name for path in (instance.root / "etc/systemd/system").glob("*.service")}
    assert len(units) == 4
    assert units == {path.name for path in (tf.ROOT / "deploy/systemd").glob("*.service")}
    assert "/var/log/nitro_enclaves" in instance.read("etc/logrotate.d/blindgate-nitro-enclaves")
    current = (instance.root / "opt/blindgate/current").readlink()
    assert current.parent == Path("/opt/blindgate/releases")


def test_the_logs_that_explain_a_failure_reach_the_log_group(host: Host) -> None:
    instance = host.run(host.render())
    shipped = instance.shipped()
    assert shipped["/var/log/cloud-init-output.log"] == "/cloud-init"
    assert shipped["/var/log/nitro_enclaves/nitro_enclaves.log"] == "/nitro-cli"
    assert shipped["/var/log/nitro_enclaves/err*.log"] == "/nitro-cli-errors"
    # The journal of the enclaves' units, which a service copies into a file that is rotated.
    unit = instance.read("etc/systemd/system/blindgate-journal.service")
    file = unit.partition("StandardOutput=append:")[2].splitlines()[0]
    assert shipped[file] == "/units"
    assert (instance.root / file.lstrip("/")).parent.is_dir()
    rules = instance.read("etc/logrotate.d/blindgate")
    assert rules.startswith(f"{Path(file).parent}/*.log {{\n  size 32M\n")


def test_no_other_file_reaches_the_log_group_and_none_holds_content(host: Host) -> None:
    marker = "a-value-of-a-setting"
    instance = host.run(host.render(environment={"BLINDGATE_ENCLAVES": marker}))
    assert set(instance.shipped()) == {
        "/var/log/blindgate/gateway.log",  # JSON lines without content, docs/operations.md
        "/var/lib/private/blindgate-gateway/audit.log",
        "/var/log/blindgate/units.log",
        "/var/log/cloud-init-output.log",
        "/var/log/nitro_enclaves/nitro_enclaves.log",
        "/var/log/nitro_enclaves/err*.log",
    }
    # cloud-init's output is what this script writes: no settings, no measurements.
    assert marker in instance.read("etc/blindgate/gateway.env")
    for text in (marker, "a" * 96):
        assert text not in instance.output + instance.errors


def test_the_agent_runs_before_anything_that_can_fail(host: Host) -> None:
    host.release = host.store(host.make_release(quick=True), "release/1.gz", "v2")
    instance = host.run(host.render(release={**host.release, "sha256": "0" * 64}))
    assert instance.code != 0
    assert "blindgate: line" in instance.errors
    started = [call for call in instance.calls if call.startswith("amazon-cloudwatch-agent-ctl")]
    assert started == [
        (
            "amazon-cloudwatch-agent-ctl -a fetch-config -m ec2 -s "
            "-c file:/opt/aws/amazon-cloudwatch-agent/etc/blindgate.json"
        )
    ]
    assert "/var/log/cloud-init-output.log" in instance.shipped()


@pytest.mark.parametrize("which", ["eif", "release"])
def test_a_changed_file_is_not_used(host: Host, which: str) -> None:
    host.release = host.store(host.make_release(quick=True), "release/1.gz", "v2")
    wrong = {**getattr(host, which), "sha256": "0" * 64}
    instance = host.run(host.render(**{which: wrong}))
    assert instance.code != 0
    assert "computed checksum did NOT match" in instance.errors
    assert not [call for call in instance.calls if "enable --now" in call]
    assert not list(instance.root.glob("var/lib/blindgate/blue.eif"))


def test_two_slots_reserve_twice_the_memory(host: Host) -> None:
    host.release = host.store(host.make_release(quick=True), "release/1.gz", "v2")
    instance = host.run(host.render(slots=2))
    assert instance.code == 0
    assert "memory_mib: 3712\n" in instance.read("etc/nitro_enclaves/allocator.yaml")
    assert (instance.root / "etc/blindgate/enclave-green.env").is_file()


def test_memory_is_reserved_for_what_the_image_needs(host: Host) -> None:
    host.release = host.store(host.make_release(quick=True), "release/1.gz", "v2")
    needs = json.dumps({"architecture": "x86_64", "memory_mib": 4096, "cpus": 2})
    instance = host.run(host.render(needs=needs))
    assert (instance.code, instance.errors) == (0, "")
    assert instance.read("var/lib/blindgate/blue.requirements.json") == needs
    assert "memory_mib: 4096\n" in instance.read("etc/nitro_enclaves/allocator.yaml")


def test_the_proxy_leads_to_the_fips_endpoint_if_the_image_asks_for_it(host: Host) -> None:
    instance = host.run(host.render(fips=True))
    assert (instance.code, instance.errors) == (0, "")
    assert instance.read("etc/blindgate/host.env") == (
        "BLINDGATE_REGION=eu-central-1\nBLINDGATE_KMS_HOST=kms-fips.eu-central-1.amazonaws.com\n"
    )
    assert "address: kms-fips.eu-central-1.amazonaws.com, port: 443" in instance.read(
        "etc/blindgate/vsock-proxy.yaml"
    )
