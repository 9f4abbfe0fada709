"""Each check passes on a healthy instance, and fails for the fault that it is about."""

from __future__ import annotations

import errno
import ssl
import stat
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blindgate.link.addresses import VsockAddress
from enclave_app.kms.endpoints import kms_host
from gateway.doctor.checks import CHECKS
from gateway.doctor.host import Done, HttpResponse, Node, PolicyHidden, PolicyUnreadable
from gateway.doctor.result import Outcome, Result
from gateway.doctor.setup import read_setup
from tests.gateway.doctor import fake_host as at
from tests.gateway.doctor.fake_host import FakeHost, healthy

Change = Callable[[FakeHost], Any]
BY_NAME = {each.name: each for each in CHECKS}
NE = "/dev/nitro_enclaves"


def check(name: str, host: FakeHost, **options: Any) -> Result:
    return BY_NAME[name].examine(host, read_setup(host, **options))


def setting(**changed: dict[Any, Any]) -> Change:
    """Change entries of the machine's tables."""

    def apply(host: FakeHost) -> None:
        for table, values in changed.items():
            getattr(host, table).update(values)

    return apply


def without(table: str, *names: Any) -> Change:
    def apply(host: FakeHost) -> None:
        for name in names:
            del getattr(host, table)[name]

    return apply


def edited(path: str, old: str, new: str) -> Change:
    def apply(host: FakeHost) -> None:
        text = host.files[path]
        assert old in text
        host.files[path] = text.replace(old, new)

    return apply


GATEWAY = "/etc/blindgate/gateway.env"
HOST = "/etc/blindgate/host.env"
BLUE = "/etc/blindgate/enclave-blue.env"
ALLOCATOR = "/etc/nitro_enclaves/allocator.yaml"
PROXY_YAML = "/etc/blindgate/vsock-proxy.yaml"
PROXY = at.show("blindgate-vsock-proxy.service")
ENCLAVE = at.show("blindgate-enclave@blue.service")
ANOTHER = {index: bytes([index + 9]) * 48 for index in range(3)}
NO_TRANSPORT = OSError(errno.ENODEV, "No such device")
WRONG_CA = ssl.SSLCertVerificationError(1, "certificate verify failed")
WRONG_CA.verify_message = "self-signed certificate"

#: Check, fault, a part of what is seen, a part of what to do.
FAULTS: list[tuple[str, Change, str, str]] = [
    (
        "enclave-support",
        lambda host: (host.nodes.pop(NE), host.files.pop("/proc/bus/pci/devices")),
        "cannot run enclaves",
        "--enclave-options Enabled=true",
    ),
    ("enclave-support", without("nodes", NE), "is missing", "modprobe nitro_enclaves"),
    (
        "enclave-support",
        setting(nodes={NE: Node(stat.S_IFREG | 0o660, "ne")}),
        "is missing",
        "modprobe nitro_enclaves",
    ),
    (
        "device-access",
        setting(nodes={NE: Node(stat.S_IFCHR | 0o600, "root")}),
        "belongs to group root with mode 0600",
        "udevadm trigger",
    ),
    (
        "device-access",
        setting(commands={"id -nG blindgate-enclave": Done(0, "blindgate-enclave\n")}),
        "not a member of group ne",
        "usermod -aG ne blindgate-enclave",
    ),
    (
        "device-access",
        setting(commands={"id -nG blindgate-enclave": Done(1, "", "no such user")}),
        "no user blindgate-enclave",
        "install.sh",
    ),
    ("installation", without("files", GATEWAY), GATEWAY, "docs/deploy.md"),
    (
        "installation",
        edited(BLUE, "BLINDGATE_CID=16", "BLINDGATE_CID=sixteen"),
        "enclave-blue.env (a value is missing or not a number)",
        "allocator.py",
    ),
    ("image", without("files", at.EIF), "no such file", "copy the image"),
    ("image", setting(files={at.EIF: b"\x7fELF" * 200}), "not an enclave image", "copy the image"),
    (
        "image",
        setting(files={at.EIF: at.image(arm64=True)}),
        "is for aarch64, this machine is x86_64",
        "--architecture x86_64",
    ),
    (
        "image",
        lambda host: setattr(host, "machine", "aarch64"),
        "is for x86_64, this machine is aarch64",
        "--architecture arm64",
    ),
    (
        "image",
        setting(
            files={
                "/var/lib/blindgate/blue.requirements.json": '{"memory_mib": 4096, "cpus": 2}',
            }
        ),
        "has 2048 MiB",
        f"--eif {at.EIF}",
    ),
    (
        "image",
        setting(
            files={"/var/lib/blindgate/blue.requirements.json": '{"memory_mib": 64, "cpus": 4}'}
        ),
        "has 2 vCPUs",
        "allocator.py",
    ),
    ("allocator", without("files", ALLOCATOR), "no such file", "allocator.py"),
    (
        "allocator",
        edited(ALLOCATOR, "memory_mib: 2048", "memory_mib: 1024"),
        "reserves 1024 MiB and 2 vCPUs, the enclaves need 2048 MiB and 2",
        "allocator.py",
    ),
    (
        "allocator",
        edited(ALLOCATOR, "cpu_count: 2", "# cpu_count: 2"),
        "0 vCPUs",
        "allocator.py",
    ),
    (
        "allocator",
        setting(commands={at.show("nitro-enclaves-allocator.service"): at.unit("failed")}),
        "nitro-enclaves-allocator.service is failed",
        "systemctl restart",
    ),
    (
        "huge-pages",
        setting(files={"/sys/kernel/mm/hugepages/hugepages-1048576kB/nr_hugepages": "1\n"}),
        "1024 MiB of huge pages are reserved, 2048 MiB are needed",
        "restart nitro-enclaves-allocator",
    ),
    (
        "cpu-pool",
        setting(files={"/sys/module/nitro_enclaves/parameters/ne_cpus": "3\n"}),
        "1 CPUs are set aside",
        "restart nitro-enclaves-allocator",
    ),
    (
        "cpu-pool",
        setting(files={"/sys/module/nitro_enclaves/parameters/ne_cpus": "\n"}),
        "0 CPUs are set aside",
        "restart nitro-enclaves-allocator",
    ),
    (
        "vsock-proxy",
        setting(commands={PROXY: at.unit("failed", result="exit-code")}),
        "is failed, result exit-code",
        "journalctl -u blindgate-vsock-proxy",
    ),
    (
        "vsock-proxy",
        setting(commands={PROXY: at.unit("inactive", load="not-found")}),
        "is not installed",
        "install.sh",
    ),
    ("allow-list", without("files", PROXY_YAML), "no such file", "install.sh"),
    (
        "allow-list",
        edited(PROXY_YAML, at.REGION, "us-east-1"),
        "allows kms.us-east-1.amazonaws.com:443, not kms.eu-central-1.amazonaws.com:443",
        "{address: kms.eu-central-1.amazonaws.com, port: 443}",
    ),
    ("allow-list", edited(PROXY_YAML, "port: 443", "port: 8443"), "8443", "port: 443"),
    (
        "kms-endpoint",
        setting(files={at.EIF: at.image(config=at.CONFIG + "fips = true\n")}),
        f"asks kms-fips.{at.REGION}.amazonaws.com, and vsock-proxy leads to {at.KMS}",
        f"install.sh {at.REGION} --fips, then systemctl restart blindgate-vsock-proxy",
    ),
    (
        "kms-endpoint",
        edited(HOST, f"KMS_HOST={at.KMS}", f"KMS_HOST=kms-fips.{at.REGION}.amazonaws.com"),
        f"asks {at.KMS}, and vsock-proxy leads to kms-fips.",
        f"install.sh {at.REGION}, then",
    ),
    (
        "kms-endpoint",
        edited(HOST, at.REGION, "us-east-1"),
        "asks KMS in eu-central-1, and this instance is in us-east-1",
        "names a KMS key in us-east-1",
    ),
    ("kms-dns", without("names", at.KMS), "does not resolve", "DNS"),
    (
        "kms-tls",
        setting(answers={at.PROXIED: ConnectionResetError(errno.ECONNRESET, "Connection reset")}),
        "nothing accepts connections at vsock://3:8000",
        "restart blindgate-vsock-proxy",
    ),
    (
        "kms-tls",
        setting(answers={at.PROXIED: WRONG_CA}),
        "through vsock-proxy, is not KMS: self-",
        "intercepts TLS",
    ),
    (
        "kms-tls",
        setting(answers={at.PROXIED: NO_TRANSPORT, at.DIRECT: WRONG_CA}),
        "directly, is not KMS",
        "intercepts TLS",
    ),
    (
        "kms-tls",
        setting(answers={at.PROXIED: NO_TRANSPORT, at.DIRECT: TimeoutError("timed out")}),
        "no connection to kms.eu-central-1.amazonaws.com:443",
        "security group",
    ),
    (
        "clock",
        setting(answers={at.DIRECT: at.dated(-240)}),
        "240 s ahead of KMS",
        "chronyc makestep",
    ),
    ("clock", setting(answers={at.DIRECT: at.dated(61)}), "61 s behind KMS", "chronyc makestep"),
    (
        "clock",
        lambda host: (
            host.answers.pop(at.DIRECT),
            host.commands.update({"chronyc -c tracking": Done(0, "0,,0,0,0,Not synchronised\n")}),
        ),
        "Not synchronised",
        "chronyd",
    ),
    (
        "credentials",
        without("answers", f"PUT {at.IMDS}/latest/api/token"),
        "does not answer",
        "--http-endpoint enabled",
    ),
    (
        "credentials",
        setting(answers={f"PUT {at.IMDS}/latest/api/token": HttpResponse(403)}),
        "no token (HTTP 403)",
        "--http-tokens required",
    ),
    ("credentials", setting(answers={at.ROLE: HttpResponse(404)}), "no role", "instance-profile"),
    (
        "credentials",
        setting(
            answers={f"{at.ROLE}blindgate-instance": at.credentials(Code="AssumeRoleUnauthorized")}
        ),
        "AssumeRoleUnauthorized",
        "trust policy",
    ),
    (
        "credentials",
        setting(
            answers={
                f"{at.ROLE}blindgate-instance": at.credentials(Expiration="2020-01-01T00:00:00Z")
            }
        ),
        "ended at 2020-01-01",
        "clock",
    ),
    ("enclaves", without("commands", at.DESCRIBE), "not installed", "dnf install"),
    (
        "enclaves",
        setting(commands={at.DESCRIBE: Done(1, "", "[ E38 ] no permission")}),
        "E38",
        "root",
    ),
    (
        "enclaves",
        setting(commands={at.DESCRIBE: at.described(at.enclave(Flags="DEBUG_MODE"))}),
        "DEBUG_MODE",
        "terminate-enclave --enclave-name blindgate-blue",
    ),
    (
        "enclaves",
        setting(
            commands={at.DESCRIBE: at.described(), ENCLAVE: at.unit("failed", result="exit-code")}
        ),
        "no enclave runs: blindgate-enclave@blue.service is failed",
        "journalctl -u blindgate-enclave@blue.service",
    ),
    (
        "enclaves",
        setting(
            commands={
                at.DESCRIBE: at.described(at.enclave(State="TERMINATING")),
                ENCLAVE: at.unit("failed", result="start-limit-hit"),
            }
        ),
        "gave up",
        "systemctl reset-failed",
    ),
    (
        "workers",
        without("workers", at.WORKER),
        "runs, but its worker does not answer",
        "journalctl",
    ),
    (
        "workers",
        lambda host: (
            host.workers.pop(at.WORKER),
            host.commands.update({at.DESCRIBE: at.described()}),
        ),
        "no worker answers",
        "BLINDGATE_ENCLAVES",
    ),
    ("workers", setting(workers={at.WORKER: {"ready": False}}), "is not ready", "journalctl"),
    (
        "workers",
        setting(workers={at.WORKER: {"ready": True, "draining": True}}),
        "is draining",
        "restart its unit",
    ),
    (
        "workers",
        setting(
            workers={
                at.WORKER: {
                    "ready": True,
                    "needs_credentials": True,
                    "kms_regions": ["us-east-1", "eu-west-1"],
                }
            }
        ),
        f"asks KMS in us-east-1, eu-west-1, and this instance is in {at.REGION}",
        f"names a KMS key in {at.REGION}",
    ),
    (
        "workers",
        setting(workers={at.WORKER: {"ready": True, "needs_credentials": True}}),
        "needs credentials",
        "see credentials and clock",
    ),
    (
        "key-policy",
        setting(policies={f"{at.KEY} {at.REGION}": at.policy(ANOTHER)}),
        "refuses blindgate-blue: no statement allows kms:Decrypt",
        "add its measurements",
    ),
    (
        "key-policy",
        setting(policies={f"{at.KEY} {at.REGION}": at.policy({**at.PCRS, 2: ANOTHER[2]})}),
        "refuses blindgate-blue",
        "add its measurements",
    ),
    (
        "key-policy",
        lambda host: host.policies.update(
            {
                f"{at.KEY} {at.REGION}": at.policy().replace(
                    '"Null": {"kms:RecipientAttestation:ImageSha384": "true"}',
                    '"StringNotEqualsIgnoreCase": {"kms:RecipientAttestation:ImageSha384": "ab"}',
                )
            }
        ),
        "denies images that it does not list",
        "add its measurements",
    ),
    (
        "key-policy",
        lambda host: host.policies.update(
            {
                f"{at.KEY} {at.REGION}": at.policy().replace(
                    "arn:aws:iam::111122223333:role/key-admin", "arn:aws:iam::111122223333:root"
                )
            }
        ),
        "BP102",
        "name the administrators",
    ),
    (
        "key-policy",
        setting(policies={f"{at.KEY} {at.REGION}": "{}"}),
        "no key policy",
        "terraform apply",
    ),
    (
        "measurements",
        setting(files={"/etc/blindgate/pcrs/blue.json": at.measured(ANOTHER)}),
        "trusts none of the measurements of blindgate-blue",
        "BLINDGATE_PCRS",
    ),
    (
        "measurements",
        without("files", "/etc/blindgate/pcrs/blue.json"),
        "pcrs/blue.json: no such file",
        "BLINDGATE_PCRS",
    ),
    (
        "measurements",
        setting(files={"/etc/blindgate/pcrs/blue.json": "{}"}),
        "missing",
        "blindgate image pcrs",
    ),
    (
        "gateway",
        without("answers", at.READY),
        "nothing answers at 127.0.0.1:8080",
        "journalctl -u blindgate-gateway",
    ),
    (
        "gateway",
        setting(answers={at.READY: HttpResponse(503, {}, b'{"ready":false,"enclaves":{"out":1}}')}),
        "not ready: 1 out",
        "see enclaves",
    ),
]


def test_every_check_has_a_fault() -> None:
    assert {name for name, *_ in FAULTS} == set(BY_NAME)


@pytest.mark.parametrize("name", BY_NAME)
def test_a_check_passes_on_a_healthy_instance(name: str) -> None:
    result = check(name, healthy())
    assert result.outcome is Outcome.OK, result
    assert result.fix == ""
    assert "\n" not in result.seen


@pytest.mark.parametrize(
    ("name", "fault", "seen", "fix"),
    FAULTS,
    ids=[f"{name}-{index}" for index, (name, *_) in enumerate(FAULTS)],
)
def test_a_check_fails_and_says_what_to_do(name: str, fault: Change, seen: str, fix: str) -> None:
    host = healthy()
    fault(host)
    result = check(name, host)
    assert result.outcome is Outcome.FAILED, result
    assert seen in result.seen
    assert fix in result.fix
    assert at.SECRET not in f"{result}"


UNKNOWN: list[tuple[str, Change, str, str]] = [
    (
        "key-policy",
        setting(policies={f"{at.KEY} {at.REGION}": PolicyHidden("AccessDeniedException")}),
        "may not read the policy",
        "--key-policy policy.json",
    ),
    (
        "key-policy",
        setting(policies={f"{at.KEY} {at.REGION}": PolicyUnreadable("KMS says NotFoundException")}),
        "NotFoundException",
        "Region",
    ),
    (
        "kms-tls",
        setting(answers={at.PROXIED: NO_TRANSPORT}),
        "KMS answers directly",
        "modprobe vsock_loopback",
    ),
    ("vsock-proxy", without("commands", PROXY), "systemd does not answer", "systemctl"),
    (
        "clock",
        lambda host: (host.answers.pop(at.DIRECT), host.commands.pop("chronyc -c tracking")),
        "neither KMS nor chrony",
        "chronyc",
    ),
    ("gateway", setting(answers={at.READY: HttpResponse(404)}), "answers HTTP 404", "ss -tlnp"),
    (
        "device-access",
        without("commands", "id -nG blindgate-enclave"),
        "id: ",
        "id blindgate-enclave",
    ),
    (
        "cpu-pool",
        setting(files={"/sys/module/nitro_enclaves/parameters/ne_cpus": "none\n"}),
        "no list of CPUs",
        "cat ",
    ),
    (
        "credentials",
        setting(answers={f"{at.ROLE}blindgate-instance": at.credentials(Expiration="soon")}),
        "no readable end",
        "again",
    ),
]


@pytest.mark.parametrize(
    ("name", "change", "seen", "fix"),
    UNKNOWN,
    ids=[f"{name}-{index}" for index, (name, *_) in enumerate(UNKNOWN)],
)
def test_what_cannot_be_seen_from_here_is_unknown(
    name: str, change: Change, seen: str, fix: str
) -> None:
    host = healthy()
    change(host)
    result = check(name, host)
    assert result.outcome is Outcome.UNKNOWN, result
    assert seen in result.seen
    assert fix in result.fix


def test_a_machine_without_anything_has_failures_and_no_bug() -> None:
    results = {name: check(name, FakeHost()) for name in BY_NAME}
    outcomes = {name: each.outcome for name, each in results.items()}
    assert outcomes["enclave-support"] is Outcome.FAILED
    assert outcomes["installation"] is Outcome.FAILED
    assert outcomes["enclaves"] is Outcome.FAILED
    # What needs the missing parts says that it was not looked at.
    for name in (
        *("device-access", "kms-endpoint", "kms-dns", "kms-tls", "allow-list", "key-policy"),
        "measurements",
    ):
        assert outcomes[name] is Outcome.SKIPPED
    assert all(each.fix for each in results.values() if each.outcome is Outcome.FAILED)


def test_an_enclave_that_ends_does_not_hide_the_one_that_runs() -> None:
    """nitro-cli prints the others and fails with E39."""
    host = healthy()
    listed = at.described(at.enclave()).stdout
    host.commands[at.DESCRIBE] = Done(1, listed, "[ E39 ] Enclave process connection failure.")
    assert check("enclaves", host).outcome is Outcome.OK


def test_a_second_slot_that_is_empty_is_no_fault() -> None:
    host = healthy()
    host.files["/etc/blindgate/enclave-green.env"] = (
        "BLINDGATE_EIF=/var/lib/blindgate/green.eif\nBLINDGATE_CID=17\nBLINDGATE_CPUS=2\n"
        "BLINDGATE_MEMORY=2048\n"
    )
    host.files[GATEWAY] = host.files[GATEWAY].replace(
        "vsock://16:5005", "vsock://16:5005,vsock://17:5005"
    )
    for name in ("image", "allocator", "workers", "enclaves"):
        assert check(name, host).outcome is Outcome.OK
    # Once green runs, its silence is a fault.
    host.commands[at.DESCRIBE] = at.described(
        at.enclave(), at.enclave(EnclaveName="blindgate-green", EnclaveCID=17)
    )
    result = check("workers", host)
    assert result.outcome is Outcome.FAILED
    assert str(VsockAddress(17, 5005)) in result.seen


def test_the_keys_are_those_of_the_image_in_this_region() -> None:
    assert read_setup(healthy()).key_arns == (at.KEY,)
    assert read_setup(healthy(), key_arns=(at.OTHER_KEY,)).key_arns == (at.OTHER_KEY,)


def test_a_policy_that_was_given_is_checked_without_asking_kms() -> None:
    host = healthy()
    host.policies.clear()
    assert check("key-policy", host, key_policy=at.policy()).outcome is Outcome.OK
    assert check("key-policy", host, key_policy=at.policy(ANOTHER)).outcome is Outcome.FAILED


@pytest.mark.parametrize("config", ["", "[kms", "kms = 3", "[kms]\nkey_arns = 4\n"])
def test_an_image_whose_configuration_cannot_be_read_still_has_its_sizes(config: str) -> None:
    host = healthy()
    host.files[at.EIF] = at.image(config=config)
    assert check("image", host).outcome is Outcome.OK
    assert read_setup(host).key_arns == ()


@pytest.mark.parametrize("cut", [3, 100, 547])
def test_a_truncated_image_is_refused(cut: int) -> None:
    host = healthy()
    host.files[at.EIF] = at.image()[:cut]
    assert "not an enclave image" in check("image", host).seen


@given(st.binary(max_size=2000) | st.binary(max_size=1500).map(lambda tail: b".eif" + tail))
def test_no_image_file_breaks_the_reader(content: bytes) -> None:
    host = healthy()
    host.files[at.EIF] = content
    assert check("image", host).outcome in (Outcome.OK, Outcome.FAILED)


@given(st.integers(0, len(at.image()) - 1), st.binary(min_size=1, max_size=9))
def test_no_changed_image_breaks_the_reader(position: int, changed: bytes) -> None:
    host = healthy()
    content = bytearray(at.image())
    content[position : position + len(changed)] = changed
    host.files[at.EIF] = bytes(content)
    assert check("image", host).outcome in (Outcome.OK, Outcome.FAILED)


@given(st.text(max_size=200))
def test_no_configuration_file_breaks_a_check(text: str) -> None:
    host = healthy()
    for path in list(host.files):
        if path != at.EIF:
            host.files[path] = text.encode(errors="replace")
    for each in CHECKS:
        assert "Traceback" not in each.examine(host, read_setup(host)).seen


@pytest.mark.parametrize("region", ["us-east-1", "us-gov-east-1", "cn-north-1", "eusc-de-east-1"])
def test_kms_s_name_is_the_one_that_the_enclave_asks(region: str) -> None:
    assert read_setup(FakeHost(), region=region).kms_host == kms_host(region)


@pytest.mark.parametrize("region", ["us-east-1", "us-gov-east-1"])
def test_kms_s_name_is_the_fips_one_if_the_image_asks_for_it(region: str) -> None:
    host = FakeHost(files={at.EIF: at.image(config=f'[kms]\nregion = "{region}"\nfips = true\n')})
    setup = read_setup(host, region=region, image=at.EIF)
    assert setup.kms_host == kms_host(region, fips=True)
    assert BY_NAME["kms-endpoint"].examine(host, setup).outcome is Outcome.OK


def test_an_image_of_several_regions_runs_in_each() -> None:
    host = healthy()
    host.files[at.EIF] = at.image(config=at.CONFIG.replace(f'region = "{at.REGION}"\n', ""))
    assert check("kms-endpoint", host).outcome is Outcome.OK
    for region, key in ((at.REGION, at.KEY), ("us-east-1", at.OTHER_KEY)):
        assert read_setup(host, region=region).key_arns == (key,)
    result = check("kms-endpoint", host, region="eu-west-1")
    assert result.outcome is Outcome.FAILED
    assert f"asks KMS in {at.REGION}, us-east-1, and this instance is in eu-west-1" in result.seen


def test_one_of_several_keys_that_refuses_is_found() -> None:
    host = healthy()
    host.policies[f"{at.OTHER_KEY} us-east-1"] = at.policy(ANOTHER)
    both = (at.KEY, at.OTHER_KEY)
    assert check("key-policy", host, key_arns=both).outcome is Outcome.FAILED
    host.policies[f"{at.OTHER_KEY} us-east-1"] = at.policy()
    result = check("key-policy", host, key_arns=both)
    assert (result.outcome, "2 keys" in result.seen) == (Outcome.OK, True)
