"""The program that runs in the enclave: `python -m enclave_app --config enclave.toml`.

It puts the parts together, serves the link, and on SIGTERM finishes what it has and ends.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import logging
import os
import signal
import threading
from functools import partial
from pathlib import Path
from types import FrameType

from blindgate.errors import BlindgateError
from blindgate.failures import INSTALL_CHECKOUT, one_line_errors

# Around the imports, too: a package that is not installed is one line.
with one_line_errors("enclave_app", install=INSTALL_CHECKOUT):
    from blindgate.link import parse_address
    from blindgate.link.dial import listen
    from blindgate.sealing import bhttp
    from blindgate.stop_flag import StopFlag
    from enclave_app import limits
    from enclave_app.config import EnclaveConfig, check_memory, load
    from enclave_app.detector.detector import Detector
    from enclave_app.envelopes.data_key_cache import CacheLimits
    from enclave_app.envelopes.opening import Unsealer, UnsealSettings
    from enclave_app.handlers.dispatch import Service
    from enclave_app.handlers.ohttp import SealedEndpoint
    from enclave_app.handlers.pipeline import Pipeline
    from enclave_app.hardening import forbid_dumps
    from enclave_app.keys.keyring import Keyring
    from enclave_app.kms.bulkhead import KmsTurns
    from enclave_app.kms.client import CREDENTIALS_SECONDS, KmsClient, KmsSettings
    from enclave_app.kms.credentials import CredentialStore
    from enclave_app.link_server.server import LinkServer
    from enclave_app.nsm import check_hardware, open_nsm, seed_kernel
    from enclave_app.scheduling.memory_budget import MemoryBudget
    from enclave_app.scheduling.worker_pool import WorkerPool

log = logging.getLogger("blindgate.worker")
#: Seconds between two checks of what an idle worker must still do: drop keys that have expired.
#: Also how late a signal is noticed that comes just before the main thread begins to wait, since
#: it interrupts nothing then.
_TIMER_SECONDS = 1.0


class ListenerFailed(BlindgateError):
    """The listening socket is of no more use; the process ends so that another one starts."""


def main() -> None:
    """Run the worker until it is told to stop."""
    parser = argparse.ArgumentParser(
        prog="enclave_app", description="The Blindgate worker: opens uploads inside the enclave."
    )
    parser.add_argument("--config", type=Path, required=True, help="the measured configuration")
    parser.add_argument(
        "--ready-fd",
        type=int,
        help="a file descriptor: one byte is written to it when connections are accepted",
    )
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    forbid_dumps()
    with one_line_errors("enclave_app", install=INSTALL_CHECKOUT):
        _run(arguments.config, arguments.ready_fd)


def _run(path: Path, ready_fd: int | None) -> None:
    measured = load(path)
    config = measured.config
    # Loading the model takes seconds: without this line the log would look like that of a hang.
    log.info("starting")
    nsm = open_nsm(config.nsm.device)
    if config.nsm.device == "/dev/nsm":
        check_memory(config.limits)
        check_hardware(clock_sources=config.nsm.clock_sources or None)
        seed_kernel(nsm)
    detector = Detector.load(
        config.model.folder, limits=config.limits.image, threads=config.threads_alone
    )
    credentials = CredentialStore(regions=config.kms.regions)
    compute = WorkerPool(
        detector.detect_batch,
        threads=config.threads,
        queue=config.limits.queue,
        together=detector.batch,
    )
    keyring = Keyring()
    with contextlib.closing(KmsClient(_kms_settings(config), nsm, credentials)) as kms:
        pipeline = Pipeline(
            Unsealer(
                _unseal_settings(config),
                KmsTurns(kms),
                region=partial(credentials.region, CREDENTIALS_SECONDS),
            ),
            detector,
            compute,
            MemoryBudget(config.limits.image_memory_bytes),
        )
        service = Service(
            measured=measured,
            nsm=nsm,
            keyring=keyring,
            credentials=credentials,
            sealed=SealedEndpoint(keyring, limits=bhttp.Limits(content=config.limits.body_bytes)),
            detector=detector,
            compute=compute,
            pipeline=pipeline,
            kms_clock=lambda: kms.clock_state,
        )
        server = LinkServer(
            listen(parse_address(config.listen)),
            service.handle,
            body_bytes=config.limits.body_bytes,
            uploads=MemoryBudget(config.limits.upload_memory_bytes),
            connections=config.limits.connections,
        )
        # What is loaded stays: a collector that went through it now and then would hold the
        # interpreter's lock against every thread for as long.
        gc.collect()
        gc.freeze()
        _serve(server, service, keyring, ready_fd)
        compute.close()


def _serve(
    server: LinkServer, service: Service, keyring: Keyring, ready_fd: int | None = None
) -> None:
    """Serve until SIGTERM or SIGINT, then finish what is in flight and end.

    Raises:
        ListenerFailed: No connection is accepted any more, so that another process must take over.
    """
    stopped = StopFlag()
    failures: list[Exception] = []

    def stop(_signal: int, _frame: FrameType | None) -> None:
        stopped.set()

    def accept() -> None:
        try:
            server.serve_forever()
        except Exception as error:  # noqa: BLE001 - whatever it is, nobody would be served
            failures.append(error)
            stopped.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    accepting = threading.Thread(target=accept, name="accept", daemon=True)
    accepting.start()
    log.info("ready")
    if ready_fd is not None:
        with os.fdopen(ready_fd, "wb") as ready:
            ready.write(b"\n")
    while not stopped.wait(_TIMER_SECONDS):
        keyring.rotate_if_due()
    service.drain()
    log.info("draining")
    if not server.wait_until_idle(limits.DRAIN_SECONDS):
        log.warning("giving up what is still in flight")
    server.close()
    accepting.join()
    if failures:
        raise ListenerFailed(f"no connection can be accepted: {failures[0]}")


def _kms_settings(config: EnclaveConfig) -> KmsSettings:
    return KmsSettings(
        key_arns=config.kms.key_arns,
        hosts=config.kms.hosts,
        address=parse_address(config.kms.address),
        ca_bundle=config.kms.ca_bundle,
    )


def _unseal_settings(config: EnclaveConfig) -> UnsealSettings:
    cache = config.kms.data_key_cache
    return UnsealSettings(
        key_arns=config.kms.key_arns,
        encryption_context=config.kms.encryption_context,
        sample_files=config.kms.sample_files,
        cache=CacheLimits(
            entries=cache.entries,
            max_age_s=cache.max_age_s,
            max_uses=cache.max_uses,
            max_bytes=cache.max_bytes,
        ),
        max_bytes=config.limits.body_bytes,
    )


if __name__ == "__main__":
    main()
