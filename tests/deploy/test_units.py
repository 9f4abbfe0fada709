"""The systemd units: hardened, in the right order, and restarted."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from enclave_app.kms.endpoints import kms_host
from tests.deploy import terraform as tf
from tests.deploy.test_allocator import allocator

UNITS = tf.ROOT / "deploy" / "systemd"
NAMES = (
    "blindgate-vsock-proxy.service",
    "blindgate-enclave@.service",
    "blindgate-gateway.service",
    "blindgate-journal.service",
)

#: systemd's own measure of what a service could reach, 0 to 10; "OK" ends at 4.9.
MOST_EXPOSURE = {
    "blindgate-vsock-proxy.service": 1.3,
    "blindgate-enclave@.service": 1.3,
    "blindgate-gateway.service": 1.3,
    "blindgate-journal.service": 0.5,
}


def settings(name: str) -> dict[str, list[str]]:
    """Every setting of a unit and its values."""
    found: dict[str, list[str]] = {}
    for line in (UNITS / name).read_text().splitlines():
        if re.match(r"[A-Z]\w+=", line):
            key, value = line.split("=", 1)
            found.setdefault(key, []).append(value)
    return found


@pytest.fixture(scope="module")
def analyze() -> str:
    found = shutil.which("systemd-analyze")
    if found is None:
        pytest.skip("systemd-analyze is not on this machine")
    return found


@pytest.mark.parametrize("name", NAMES)
def test_a_unit_is_exposed_as_little_as_can_be(analyze: str, name: str) -> None:
    done = subprocess.run(
        [analyze, "security", "--offline=true", UNITS / name],
        capture_output=True,
        text=True,
        check=False,
    )
    level = re.search(r"Overall exposure level.*: ([\d.]+)", done.stdout)
    assert level, done.stdout + done.stderr
    assert float(level[1]) <= MOST_EXPOSURE[name]


def test_systemd_reads_the_units_without_a_remark(analyze: str, tmp_path: Path) -> None:
    for name in NAMES:
        text = (UNITS / name).read_text()
        # The programs are on instances only; `verify` insists that they exist.
        text = re.sub(r"^ExecStart=\S+", "ExecStart=/bin/true", text, flags=re.MULTILINE)
        (tmp_path / name).write_text(text)
    allocator = "[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=/bin/true\n"
    (tmp_path / "nitro-enclaves-allocator.service").write_text(allocator)
    started = [name.replace("@.", "@blue.") for name in NAMES]
    (tmp_path / started[1]).symlink_to(tmp_path / NAMES[1])
    done = subprocess.run(
        [analyze, "verify", "--man=false", *(str(tmp_path / name) for name in started)],
        capture_output=True,
        text=True,
        check=False,
    )
    ours = [line for line in done.stderr.splitlines() if "blindgate" in line]
    assert (done.returncode, ours) == (0, [])


@pytest.mark.parametrize("name", NAMES)
def test_a_service_comes_back_whatever_ended_it(name: str) -> None:
    assert settings(name)["Restart"] == ["always"]


def test_enclaves_start_after_their_memory_and_their_way_to_kms() -> None:
    enclave = settings("blindgate-enclave@.service")
    assert {"nitro-enclaves-allocator.service", "blindgate-vsock-proxy.service"} <= set(
        enclave["After"][0].split()
    )


def test_starting_a_second_enclave_does_not_run_the_allocator_again() -> None:
    """It fails while an enclave runs, and what it is required by with it."""
    enclave = settings("blindgate-enclave@.service")
    pulled_in = [
        each for name in ("Requires", "Wants", "BindsTo") for each in enclave.get(name, [])
    ]
    assert "allocator" not in " ".join(pulled_in)


def test_the_gateway_runs_without_enclaves_and_stops_before_them() -> None:
    gateway = settings("blindgate-gateway.service")
    assert "Requires" not in gateway
    assert "BindsTo" not in gateway
    # What starts after is stopped before: requests end before their enclave does.
    assert "blindgate-enclave@blue.service" in gateway["After"][0].split()


def test_the_gateway_has_no_way_to_the_enclaves_device() -> None:
    for name in ("blindgate-gateway.service", "blindgate-vsock-proxy.service"):
        unit = settings(name)
        assert unit["PrivateDevices"] == ["yes"]
        assert unit["DynamicUser"] == ["yes"]
        assert "SupplementaryGroups" not in unit


def test_the_proxy_has_enough_workers_and_one_destination() -> None:
    (command,) = settings("blindgate-vsock-proxy.service")["ExecStart"]
    assert " -w 32 " in command
    allowlist = (UNITS / "vsock-proxy.yaml.in").read_text()
    addresses = [line for line in allowlist.splitlines() if "address:" in line]
    assert addresses == ["  - {address: @KMS_HOST@, port: 443}"]


def test_no_unit_and_no_script_starts_an_enclave_in_debug_mode() -> None:
    user_data = tf.SOURCES / "modules/gateway/user_data.sh.tftpl"
    texts = {
        path.name: path.read_text() for path in [*UNITS.iterdir(), user_data] if path.is_file()
    }
    assert {*NAMES, "install.sh", "enclave_unit.py", user_data.name} <= set(texts)
    assert [name for name, text in texts.items() if "--debug-mode" in text] == []


@pytest.mark.parametrize("name", ["install.sh"])
def test_bash_can_read_the_scripts(name: str) -> None:
    done = subprocess.run(["bash", "-n", UNITS / name], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    "region", ["us-east-1", "us-gov-east-1", "cn-northwest-1", "eusc-de-east-1", "ap-south-2"]
)
def test_the_proxy_s_host_is_the_one_that_the_enclave_asks(region: str) -> None:
    assert _installed_host(region).stdout.split() == [kms_host(region)]


@pytest.mark.parametrize("region", ["us-east-1", "us-gov-east-1", "eu-west-1"])
def test_the_proxy_leads_to_the_fips_endpoint_if_the_image_asks_for_it(region: str) -> None:
    assert _installed_host(region, "--fips").stdout.split() == [kms_host(region, fips=True)]


def test_a_mistyped_option_does_not_install_the_other_endpoint() -> None:
    done = _installed_host("us-east-1", "fips")
    assert (done.returncode, done.stdout) == (2, "")
    assert "unknown option fips" in done.stderr


@pytest.mark.parametrize("region", ["us-iso-west-1", "eu-isoe-west-1"])
def test_a_region_without_a_known_kms_is_not_installed(region: str) -> None:
    done = _installed_host(region)
    assert done.returncode == 1
    assert "no suffix is known" in done.stderr


def _installed_host(region: str, *options: str) -> subprocess.CompletedProcess[str]:
    """Run the part of install.sh that names KMS."""
    script = (UNITS / "install.sh").read_text()
    part = script[script.index("case ${2:-} in") : script.rindex("esac") + len("esac")]
    return subprocess.run(
        ["/bin/bash", "-c", f'region=$1\n{part}\necho "$kms"', "bash", region, *options],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def test_nitro_cli_s_log_stays_small() -> None:
    """nitro-cli logs every call at INFO, into one file that it never rotates."""
    assert "RUST_LOG=warn" in settings("blindgate-enclave@.service")["Environment"]
    rules = (UNITS / "nitro-enclaves.logrotate").read_text()
    assert "/var/log/nitro_enclaves/*.log {" in rules
    # logrotate refuses a folder that a group may write to, unless told whose rights to use.
    assert "su root ne" in rules
    assert re.search(r"^  size \d+M$", rules, re.MULTILINE)


def test_the_shipped_journal_is_that_of_every_slot_and_of_no_unit_that_serves_clients() -> None:
    (command,) = settings("blindgate-journal.service")["ExecStart"]
    units = re.findall(r"--unit=(\S+)", command)
    # A pattern is resolved when journalctl starts, before any enclave has logged.
    assert set(units) == {
        *(f"blindgate-enclave@{slot}.service" for slot in allocator.SLOTS),
        "blindgate-vsock-proxy.service",
        "nitro-enclaves-allocator.service",
    }


def test_journalctl_takes_the_options_of_the_shipped_journal() -> None:
    if shutil.which("journalctl") is None:
        pytest.skip("journalctl is not on this machine")
    (command,) = settings("blindgate-journal.service")["ExecStart"]
    arguments = [each for each in command.split()[1:] if each not in {"--follow", "--boot"}]
    done = subprocess.run(
        ["journalctl", *arguments, "--directory=/var/empty-journal"],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert "option" not in done.stderr
    assert "No such file or directory" in done.stderr
