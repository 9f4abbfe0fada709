"""The way to KMS: its name, TLS through vsock-proxy, the clock, and the role's credentials.

Sources: AWS, "Signature Version 4" (a signature is refused when the clock is five minutes off);
EC2 User Guide, "Use the Instance Metadata Service"; chronyc(1).
"""

from __future__ import annotations

import errno
import ipaddress
import json
import ssl
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Final

from gateway.doctor.checks.proxy import UNIT
from gateway.doctor.host import Host, HttpResponse
from gateway.doctor.image_file import ImageFacts
from gateway.doctor.result import Result, failed, ok, skipped, unknown
from gateway.doctor.setup import PROXY, Setup, kms_name

_ROLE: Final = "/latest/meta-data/iam/security-credentials/"
#: KMS refuses at 300; clients accept attestation documents with 60 of skew.
MAX_SKEW_SECONDS: Final = 60.0
#: What connecting to a vsock port without a listener gives.
_NOBODY: Final = (errno.ECONNRESET, errno.ECONNREFUSED)
_NO_REGION: Final = ("the Region is not known", "give --region REGION")
_OK: Final = 200


def endpoint(_: Host, setup: Setup) -> Result:
    """Each image asks the KMS that vsock-proxy leads to."""
    if setup.region is None or setup.kms_host is None:
        return skipped(*_NO_REGION)
    asked = []
    for path, facts in setup.images.items():
        if not isinstance(facts, ImageFacts) or not facts.regions:
            continue
        if setup.region not in facts.regions:
            return failed(
                f"{path} asks KMS in {', '.join(facts.regions)}, and this instance is in "
                f"{setup.region}",
                f"run an image whose configuration names a KMS key in {setup.region}",
            )
        name = kms_name(setup.region, fips=facts.fips)
        if name != setup.kms_host:
            option = " --fips" if facts.fips else ""
            return failed(
                f"{path} asks {name}, and vsock-proxy leads to {setup.kms_host}",
                f"run the release's systemd/install.sh {setup.region}{option}, then systemctl "
                f"restart {UNIT}",
            )
        asked.append(path)
    if not asked:
        return skipped("no image says which KMS it asks", "name one: --image FILE")
    return ok(f"{setup.kms_host}, as {', '.join(asked)} asks")


def dns(host: Host, setup: Setup) -> Result:
    """KMS's name resolves."""
    if setup.kms_host is None:
        return skipped(*_NO_REGION)
    try:
        addresses = host.resolve(setup.kms_host)
    except OSError as error:
        return failed(
            f"{setup.kms_host} does not resolve: {error.strerror or error}",
            "switch on DNS support and DNS host names of the VPC, and check /etc/resolv.conf",
        )
    private = all(ipaddress.ip_address(each.partition("%")[0]).is_private for each in addresses)
    way = "a VPC endpoint" if private else "public addresses"
    return ok(f"{setup.kms_host} is {', '.join(addresses[:3])} ({way})")


def tls(host: Host, setup: Setup) -> Result:
    """A TLS connection to KMS through vsock-proxy; directly, where this kernel has no loopback."""
    if setup.kms_host is None:
        return skipped(*_NO_REGION)
    try:
        answer = host.http(f"https://{setup.kms_host}/", via=PROXY)
        return ok(f"KMS answers through vsock-proxy (HTTP {answer.status})")
    except OSError as error:
        through = error
    if isinstance(through, ssl.SSLError):
        return _not_kms(through, "through vsock-proxy")
    if through.errno in _NOBODY:
        return failed(
            f"nothing accepts connections at {PROXY}",
            f"systemctl restart {UNIT}, then journalctl -u {UNIT} -n 20",
        )
    try:
        answer = host.http(f"https://{setup.kms_host}/")
    except ssl.SSLError as error:
        return _not_kms(error, "directly")
    except OSError as error:
        return failed(
            f"no connection to {setup.kms_host}:443: {error.strerror or error}",
            "the VPC endpoint of KMS must exist in this subnet, and its security group must accept "
            "port 443 from this instance",
        )
    return unknown(
        f"KMS answers directly (HTTP {answer.status}); vsock-proxy cannot be tried from the parent "
        f"({through.strerror or through})",
        "modprobe vsock_loopback and try again, or look at an enclave's own status below",
    )


def clock(host: Host, setup: Setup) -> Result:
    """This clock against the Date of KMS's responses, or against chrony."""
    synchronised = _chrony(host)
    note = f"; chrony: {synchronised}" if synchronised else ""
    skew = None
    if setup.kms_host is not None:
        skew = _skew(host, setup.kms_host)
    fix = "systemctl enable --now chronyd, then chronyc makestep; Amazon's time server is at "
    fix += "169.254.169.123"
    if skew is None:
        if synchronised == "Normal":
            return ok("chrony says that the clock is synchronised")
        if synchronised:
            return failed(f"chrony says: {synchronised}", fix)
        return unknown("neither KMS nor chrony could be asked for the time", "chronyc tracking")
    if abs(skew) > MAX_SKEW_SECONDS:
        where = "ahead of" if skew > 0 else "behind"
        return failed(f"this clock is {abs(skew):.0f} s {where} KMS{note}", fix, skew=skew)
    return ok(f"within {max(abs(skew), 1):.0f} s of KMS{note}", skew=skew)


def credentials(host: Host, setup: Setup) -> Result:
    """The instance's role hands out credentials over IMDSv2, and they have not expired."""
    if setup.gateway.get("AWS_ACCESS_KEY_ID"):
        return ok("the gateway's environment has its own access key; IMDS is not used")
    try:
        token = host.http(
            f"{setup.imds}/latest/api/token",
            method="PUT",
            headers={"X-aws-ec2-metadata-token-ttl-seconds": "60"},
        )
    except OSError as error:
        return failed(
            f"the instance metadata service does not answer: {error.strerror or error}",
            "aws ec2 modify-instance-metadata-options --http-endpoint enabled --http-tokens "
            "required --instance-id …",
        )
    if token.status != _OK:
        return failed(
            f"the instance metadata service gives no token (HTTP {token.status})",
            "aws ec2 modify-instance-metadata-options --http-endpoint enabled --http-tokens "
            "required --instance-id …",
        )
    headers = {"X-aws-ec2-metadata-token": token.body.decode("ascii", "replace")}
    try:
        listed = host.http(f"{setup.imds}{_ROLE}", headers=headers)
        role = listed.body.decode("ascii", "replace").strip()
        if listed.status != _OK or not role:
            return failed(
                "this instance has no role",
                "attach an instance profile: aws ec2 associate-iam-instance-profile …",
            )
        given = _json(host.http(f"{setup.imds}{_ROLE}{role}", headers=headers))
    except OSError as error:
        return failed(
            f"the instance metadata service does not answer: {error.strerror or error}",
            "try again; then look at the instance's status checks",
        )
    return _judged(host, role, given)


def _judged(host: Host, role: str, given: dict[str, Any]) -> Result:
    if given.get("Code") != "Success":
        return failed(
            f"role {role} has no credentials: {given.get('Code', 'no reason given')}",
            "check that the role exists and that its trust policy names ec2.amazonaws.com",
        )
    try:
        ends = datetime.fromisoformat(str(given["Expiration"])).astimezone(UTC)
    except (KeyError, ValueError):
        return unknown(f"role {role}: no readable end of its credentials", "try again")
    left = ends.timestamp() - host.now()
    if left <= 0:
        return failed(
            f"the credentials of role {role} ended at {ends:%Y-%m-%d %H:%M}Z",
            "correct the clock if it is wrong (see clock); otherwise stop and start the instance",
        )
    return ok(f"role {role}, credentials end in {left / 60:.0f} minutes", role=role)


def _not_kms(error: ssl.SSLError, way: str) -> Result:
    reason = getattr(error, "verify_message", "") or error.reason or "TLS failed"
    return failed(
        f"the other side, {way}, is not KMS: {reason}",
        "something intercepts TLS: let port 443 to KMS pass unchanged, and correct the clock if "
        "certificates seem to have expired",
    )


def _skew(host: Host, kms_host: str) -> float | None:
    """Seconds by which this clock is ahead of KMS's, or None."""
    try:
        answer = host.http(f"https://{kms_host}/")
        return host.now() - parsedate_to_datetime(answer.headers["date"]).timestamp()
    except (OSError, KeyError, ValueError, TypeError):
        return None


def _chrony(host: Host) -> str:
    """The leap status: `Normal`, `Not synchronised`; empty if chrony does not answer."""
    try:
        done = host.run("chronyc", "-c", "tracking")
    except OSError:
        return ""
    return done.stdout.strip().rpartition(",")[2] if done.code == 0 else ""


def _json(answer: HttpResponse) -> dict[str, Any]:
    try:
        found = json.loads(answer.body)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}
