"""Do enclaves run, do their workers serve, and is the gateway ready?"""

from __future__ import annotations

import json
from typing import Any, Final

from blindgate.attestation import PcrSet
from blindgate.errors import BlindgateError
from blindgate.link.addresses import VsockAddress
from gateway.doctor.checks import nitro
from gateway.doctor.checks.systemd import show
from gateway.doctor.host import Host
from gateway.doctor.result import Result, failed, ok, skipped, unknown
from gateway.doctor.setup import Setup

_GATEWAY: Final = "blindgate-gateway.service"
_OK: Final = 200


def enclaves(host: Host, setup: Setup) -> Result:
    """nitro-cli knows a running enclave, and none in debug mode."""
    try:
        found = nitro.describe(host)
    except nitro.NoAnswer as error:
        return failed(
            str(error),
            "dnf install -y aws-nitro-enclaves-cli; run this command as root or in group ne",
        )
    running = [each for each in found if each.state == "RUNNING"]
    for each in running:
        if each.flags != "NONE":
            return failed(
                f"enclave {each.name} has the flags {each.flags}: in debug mode its parent reads "
                "its console, and KMS sees zeros as its measurements",
                f"nitro-cli terminate-enclave --enclave-name {each.name}, and start it by its unit",
            )
    if running:
        listed = ", ".join(f"{each.name} at CID {each.cid}" for each in running)
        return ok(listed, enclaves=[each.name for each in running])
    states = ", ".join(f"{each.name} is {each.state}" for each in found)
    for slot in setup.slots:
        unit = show(host, slot.unit)
        if unit is None or unit.load == "not-found":
            continue
        if unit.result == "start-limit-hit":
            return failed(
                f"no enclave runs: {slot.unit} gave up",
                f"find the reason: journalctl -u {slot.unit} -n 50; then systemctl reset-failed "
                f"{slot.unit} && systemctl start {slot.unit}",
            )
        return failed(
            f"no enclave runs{f' ({states})' if states else ''}: {slot.unit} is {unit}",
            f"systemctl enable --now {slot.unit}; if it fails: journalctl -u {slot.unit} -n 50",
        )
    return failed(
        f"no enclave runs{f' ({states})' if states else ''}",
        "systemctl enable --now blindgate-enclave@blue",
    )


def workers(host: Host, setup: Setup) -> Result:
    """At least one worker serves, and so does each in an enclave that runs."""
    if not setup.workers:
        return skipped("no worker is configured", "set BLINDGATE_ENCLAVES in gateway.env")
    try:
        cids = {each.cid for each in nitro.running(host)}
    except nitro.NoAnswer:
        cids = set()
    serving, silent = [], []
    for address in setup.workers:
        try:
            status = host.worker_status(address)
        except (OSError, BlindgateError) as error:
            if isinstance(address, VsockAddress) and address.cid in cids:
                return failed(
                    f"the enclave at {address} runs, but its worker does not answer ({error})",
                    "its unit restarts it within a minute; if not: journalctl -u "
                    "'blindgate-enclave@*' -n 50",
                )
            silent.append(str(error))
            continue
        if reason := _not_serving(status, setup.region):
            return failed(f"the worker at {address} {reason[0]}", reason[1])
        serving.append(f"{address} is ready{_model(status)}")
    if not serving:
        return failed(
            f"no worker answers: {'; '.join(silent)}",
            "see enclaves; BLINDGATE_ENCLAVES in gateway.env must name the enclaves' CIDs",
        )
    return ok("; ".join([*serving, *(f"not used: {each}" for each in silent)]))


def measurements(host: Host, setup: Setup) -> Result:
    """The gateway trusts the measurements of each enclave that runs."""
    try:
        running = [each for each in nitro.running(host) if each.pcrs]
    except nitro.NoAnswer as error:
        return skipped(str(error), "see enclaves")
    if not running:
        return skipped("no enclave runs whose measurements could be compared", "see enclaves")
    sets = []
    for path in filter(None, map(str.strip, setup.gateway.get("BLINDGATE_PCRS", "").split(","))):
        try:
            sets.append(PcrSet.from_json(host.read(path), name=path))
        except OSError as error:
            return failed(
                f"{path}: {(error.strerror or 'unreadable').lower()}",
                "put the image's measurements there, or correct BLINDGATE_PCRS in gateway.env",
            )
        except BlindgateError as error:
            return failed(str(error), "write it from: blindgate image pcrs IMAGE")
    for each in running:
        if not any(_matches(known, each.pcrs) for known in sets):
            return failed(
                f"the gateway trusts none of the measurements of {each.name} "
                f"(PCR0 {each.pcrs.get(0, '?')[:16]}…)",
                "add the image's measurements to BLINDGATE_PCRS in gateway.env and restart "
                "blindgate-gateway, or run the image that is trusted",
            )
    return ok(f"the gateway trusts {', '.join(each.name for each in running)}")


def gateway(host: Host, setup: Setup) -> Result:
    """The gateway answers `/readyz` with 200."""
    name = setup.gateway.get("BLINDGATE_HOST", "127.0.0.1")
    name = "127.0.0.1" if name in ("0.0.0.0", "::", "localhost") else name  # noqa: S104
    port = setup.gateway.get("BLINDGATE_PORT", "8080")
    at = f"{f'[{name}]' if ':' in name else name}:{port}"
    try:
        answer = host.http(f"http://{at}/readyz")
    except (OSError, ValueError) as error:
        unit = show(host, _GATEWAY)
        state = f"; {_GATEWAY} is {unit}" if unit is not None else ""
        return failed(
            f"nothing answers at {at} ({getattr(error, 'strerror', None) or error}){state}",
            f"systemctl enable --now {_GATEWAY}; why it ended: journalctl -u {_GATEWAY} -n 20",
        )
    states = _states(answer.body)
    if answer.status == _OK:
        return ok(f"ready at {at} ({states})")
    if answer.status == 503:
        return failed(
            f"the gateway at {at} is not ready: {states}",
            "see enclaves, workers and measurements; the reason is in /var/log/blindgate/"
            "gateway.log, or the audit log cannot be written (full disk)",
        )
    return unknown(
        f"{at}/readyz answers HTTP {answer.status}", f"what listens there? ss -tlnp | grep {port}"
    )


def _not_serving(status: Any, here: str | None) -> tuple[str, str] | None:
    if status.get("draining"):
        return "is draining", "wait for its end, or restart its unit"
    if not status.get("ready"):
        return "is not ready", "wait a minute; then: journalctl -u 'blindgate-enclave@*' -n 50"
    regions = status.get("kms_regions")
    if isinstance(regions, list) and regions and here is not None and here not in regions:
        return (
            f"asks KMS in {', '.join(map(str, regions))}, and this instance is in {here}",
            f"run an image whose configuration names a KMS key in {here}",
        )
    if status.get("needs_credentials"):
        return (
            "needs credentials: it has none, they end soon, or KMS refused them",
            (
                "see credentials and clock; the gateway pushes them: systemctl restart "
                "blindgate-gateway"
            ),
        )
    return None


def _model(status: Any) -> str:
    model = status.get("model")
    return f" with {model.get('name')}" if isinstance(model, dict) else ""


def _matches(known: PcrSet, pcrs: Any) -> bool:
    return all(pcrs.get(index) in (None, value.hex()) for index, value in known.values.items())


def _states(body: bytes) -> str:
    try:
        found = json.loads(body)["enclaves"]
        listed = ", ".join(f"{count} {state}" for state, count in found.items())
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return "no states of enclaves given"
    return listed or "no enclave is known"
