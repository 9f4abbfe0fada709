"""vsock-proxy, the enclave's only way to KMS.

Source: aws/aws-nitro-enclaves-cli `vsock_proxy/README.md` (the allow-list).
"""

from __future__ import annotations

import re
from typing import Final

from gateway.doctor.checks.systemd import show
from gateway.doctor.host import Host
from gateway.doctor.result import Result, failed, ok, skipped, unknown
from gateway.doctor.setup import Setup

UNIT: Final = "blindgate-vsock-proxy.service"
ALLOW_LIST: Final = "/etc/blindgate/vsock-proxy.yaml"
HTTPS: Final = 443


def service(host: Host, _: Setup) -> Result:
    """The unit runs."""
    unit = show(host, UNIT)
    if unit is None:
        return unknown("systemd does not answer here", f"systemctl status {UNIT}")
    if unit.load == "not-found":
        return failed(f"{UNIT} is not installed", "run the release's systemd/install.sh REGION")
    if unit.active != "active":
        return failed(
            f"{UNIT} is {unit}",
            f"systemctl enable --now {UNIT}; why it ended: journalctl -u {UNIT} -n 20 (port 8000 "
            "in use, or KMS's name does not resolve)",
        )
    return ok(f"running ({unit})")


def allow_list(host: Host, setup: Setup) -> Result:
    """It lets KMS's host through."""
    if setup.kms_host is None:
        return skipped("the Region is not known", "give --region REGION")
    try:
        text = host.read(ALLOW_LIST).decode(errors="replace")
    except OSError as error:
        return failed(
            f"{ALLOW_LIST}: {(error.strerror or 'unreadable').lower()}",
            "run the release's systemd/install.sh REGION",
        )
    allowed = parse_allow_list(text)
    if (setup.kms_host, HTTPS) not in allowed:
        names = ", ".join(f"{name}:{port}" for name, port in allowed) or "nothing"
        return failed(
            f"{ALLOW_LIST} allows {names}, not {setup.kms_host}:{HTTPS}",
            f"add {{address: {setup.kms_host}, port: {HTTPS}}} below allowlist: and "
            f"systemctl restart {UNIT}",
        )
    return ok(f"allows {setup.kms_host}:{HTTPS}")


def parse_allow_list(text: str) -> list[tuple[str, int]]:
    """The pairs of address and port; entries may be in flow or block style."""
    found = []
    body = re.sub(r"#.*", "", text)
    for entry in re.split(r"^\s*-", body, flags=re.MULTILINE)[1:]:
        address = re.search(r"\baddress:\s*[\"']?([^\s,}\"']+)", entry)
        port = re.search(r"\bport:\s*([0-9]{1,5})\b", entry)
        if address and port:
            found.append((address[1], int(port[1])))
    return found
