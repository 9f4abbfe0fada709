"""The application factory."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from blindgate.attestation import AWS_NITRO_ROOT, InvalidTrust, PcrSet, Root, Trust, verify
from blindgate.attestation.errors import InvalidRoot
from blindgate.link import Address, FrameLimits, parse_address
from blindgate.sealing.padding import ANSWER_BUCKETS
from gateway.api import attestation, detections, docs, enclaves, health, models, ohttp, oip, openapi
from gateway.api.console import console_routes
from gateway.api.openapi import inference_protocol
from gateway.audit.counted import CountedRequests
from gateway.audit.log import AuditLog, AuditUnusable, read_key
from gateway.audit.middleware import AuditTrail, Measurements, keep_up
from gateway.auth.cors import allow_origins
from gateway.auth.guard import require_declared
from gateway.auth.jwks import Jwks
from gateway.auth.key_file import KeyFile
from gateway.auth.key_secret import KeySecret, secrets_client
from gateway.auth.oidc import Oidc
from gateway.auth.rates import RateLimits
from gateway.auth.shared_counters import SharedCounters
from gateway.auth.signin import KeySource, SignIn
from gateway.aws.credentials import CredentialPusher, RoleSource
from gateway.aws.discovery import follow
from gateway.background import kept_running
from gateway.console.assets import read_assets
from gateway.console.configuration import configuration
from gateway.dataplane import Dataplane
from gateway.http import UploadLimits, problem_responses
from gateway.http.edge import Edge
from gateway.pool import Pool, PoolLimits, Probe, SocketBackend, StatusHook, Verified, Verify
from gateway.settings import Settings
from gateway.telemetry.access_log import Records
from gateway.telemetry.metrics import Metrics, served
from gateway.telemetry.tracing import Tracing, tracing_from_environment

if TYPE_CHECKING:
    import httpx

#: The largest response: the largest padded one, sealed with a nonce and a tag (RFC 9458 §4.4) of
#: 48 bytes. Nearly all have 64 KiB; an attestation document has 5 KiB, a status up to 256 KiB.
MAX_ANSWER = ANSWER_BUCKETS[-1] + 48

_DESCRIPTION = """
Object detection on images that the operator of this service cannot see. Images arrive encrypted
and are opened inside an attested AWS Nitro Enclave only.

HEAD is taken wherever GET is. Bodies are taken without a Content-Encoding. Every error is a
problem document of RFC 9457.
"""


@dataclass(frozen=True, slots=True)
class Auth:
    """Everything that decides whether a request passes.

    Attributes:
        sign_in: Who calls.
        rates: How often each caller may; None without a limit.
        jwks: The provider's keys; None without a provider.
        http: What they are fetched with.
        renewing: Keys that must be looked at again.
    """

    sign_in: SignIn
    rates: RateLimits | None
    jwks: Jwks | None
    http: httpx.AsyncClient | None
    renewing: Sequence[KeySecret] = ()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Keep what must be renewed up to date within this block."""
        tasks = [asyncio.create_task(kept_running("API keys", keys.run)) for keys in self.renewing]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            if self.jwks is not None:
                await self.jwks.close()
            if self.http is not None:
                await self.http.aclose()
            if self.rates is not None:
                await self.rates.close()


def create_app(
    settings: Settings, *, pool: Pool | None = None, tracing: Tracing | None = None
) -> FastAPI:
    """Build the gateway.

    Args:
        settings: What it is told.
        pool: The enclaves; made from the settings if left out.
        tracing: What makes spans; made from `OTEL_…` variables if left out.

    Returns:
        An ASGI application whose lifespan starts and stops the pool.

    Raises:
        InvalidTrust: The settings name no measurements, or a file is wrong.
        InvalidKeyStore: The API keys cannot be read as such.
        SecretUnavailable: The secret with the API keys cannot be read.
        CountersUnavailable: The counts of requests cannot be shared.
        AuditUnusable: The audit log cannot be continued.
        TracingUnavailable: Traces are asked for and cannot be made.
        AccessUndeclared: A route does not say who may call it.
        OSError: A file cannot be read or written.
    """
    auth = make_auth(settings)
    audit = _audit_log(settings)
    counted = CountedRequests(audit) if audit is not None else None
    tracing = tracing or tracing_from_environment()
    credentials = CredentialPusher(RoleSource(), region=settings.region)
    pool = pool or make_pool(settings, credentials.on_status)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        def listed(addresses: Iterable[Address]) -> None:
            known = list(addresses)
            pool.set_addresses(known)
            credentials.retain(known)

        listed(parse_address(text) for text in settings.enclaves)
        work: dict[str, Callable[[], Coroutine[None, None, None]]] = {
            "credentials": credentials.run
        }
        if settings.nitro_cli is not None:
            work["discovery"] = partial(
                follow,
                settings.nitro_cli,
                settings.nitro_port,
                settings.discovery_period,
                listed,
            )
        if audit is not None and counted is not None:
            work["audit"] = partial(keep_up, audit, counted)
        tasks = [asyncio.create_task(kept_running(name, each)) for name, each in work.items()]
        try:
            async with auth.running(), AsyncExitStack() as more:
                if settings.metrics_port is not None:
                    scraped = served(metrics, settings.metrics_host, settings.metrics_port)
                    await more.enter_async_context(scraped)
                yield
        finally:
            for task in tasks:
                task.cancel()
            await pool.stop(settings.drain_seconds)
            await asyncio.gather(*tasks, return_exceptions=True)
            records.close()
            if audit is not None and counted is not None:
                with contextlib.suppress(OSError, AuditUnusable):
                    counted.write()
                audit.close()
            if tracing is not None:
                await asyncio.to_thread(tracing.close)

    app = FastAPI(
        title="Blindgate",
        version=version("blindgate"),
        summary="Object detection on images that its operator cannot see",
        description=_DESCRIPTION.strip(),
        lifespan=lifespan,
        # FastAPI would write paths, queries and the texts of exceptions into spans and logs.
        telemetry={"tracing": False, "metrics": False, "logs": False, "auto_configure": False},
        docs_url=None,
        redoc_url=None,
        # A slash too many is a mistake to report, not to redirect: the body would go twice.
        redirect_slashes=False,
    )
    app.state.settings = settings
    app.state.dataplane = Dataplane(
        pool,
        _upload_limits(settings),
        settings.byte_budget,
        can_record=audit.can_write if audit is not None else lambda: True,
    )
    metrics = app.state.metrics = Metrics(app.state.dataplane)
    records = app.state.records = Records(metrics, tracing)
    app.state.sign_in, app.state.rates = auth.sign_in, auth.rates
    # A pool that was handed in may come without measurements to pin.
    told = configuration(trust_from(settings), settings.max_body) if settings.pcrs else None
    console = console_routes(read_assets(), told)
    # Routes are matched in this order: the two busiest first. They are added as they are, since
    # `include_router` would hide them from the check below.
    app.router.routes += [detections.detect_route, ohttp.sealed_route]
    for module in (detections, ohttp, attestation, models, oip, enclaves, health, docs):
        app.router.routes += module.router.routes
    app.router.routes += console.routes
    require_declared(app.routes, public=[app.openapi_url or ""])
    problem_responses.install(app)
    # Middleware that is added first is the innermost.
    if audit is not None and counted is not None:
        app.add_middleware(AuditTrail, log=audit, counted=counted, pcr0_of=Measurements(pool))
    if settings.cors_origins:
        allow_origins(app, settings.cors_origins)
    app.add_middleware(Edge, records=records)
    _describe(app)
    return app


def make_pool(settings: Settings, on_status: StatusHook | None = None) -> Pool:
    """The pool of the settings, without enclaves yet."""
    return Pool(
        SocketBackend(settings.dial_timeout, FrameLimits(MAX_ANSWER)),
        verifier(trust_from(settings)),
        limits=PoolLimits(queue=settings.queue, connections=settings.connections_per_enclave),
        probe=Probe(settings.probe_period, settings.probe_patience),
        on_status=on_status,
    )


def trust_from(settings: Settings) -> Trust:
    """The trust policy of the settings.

    Raises:
        InvalidTrust: A file is missing or wrong, or there is no set of measurements.
    """
    if not settings.pcrs:
        raise InvalidTrust("no measurements given: add --pcrs FILE, or set BLINDGATE_PCRS")
    root = AWS_NITRO_ROOT if settings.root is None else _root(settings.root)
    sets = tuple(PcrSet.from_file(path, allow_debug=settings.allow_debug) for path in settings.pcrs)
    return Trust(root, sets, allow_debug=settings.allow_debug)


def _root(path: Path) -> Root:
    try:
        return Root.from_file(path)
    except OSError as error:
        raise InvalidRoot(f"cannot read {path}: {error.strerror}") from None


def verifier(trust: Trust) -> Verify:
    """The check that the pool makes of every connection."""

    def check(document: bytes, nonce: bytes) -> Verified:
        attestation = verify(document, trust=trust, nonce=nonce)
        matched = attestation.pcr_set
        return Verified(matched.name if matched else "", attestation.pcrs[0])

    return check


def make_auth(settings: Settings) -> Auth:
    """Build sign-in.

    Raises:
        InvalidKeyStore: The keys cannot be read as keys.
        SecretUnavailable: The secret cannot be read.
        CountersUnavailable: The counts of requests cannot be shared.
        OSError: The key file cannot be read.
    """
    keys: list[KeySource] = []
    renewing: list[KeySecret] = []
    if settings.api_keys is not None:
        keys.append(KeyFile(settings.api_keys))
    if settings.api_keys_secret:
        secret = KeySecret(settings.api_keys_secret, secrets_client(), settings.api_keys_period)
        keys.append(secret)
        renewing.append(secret)
    http = jwks = oidc = None
    if settings.oidc_issuer:
        http = make_http()
        jwks = Jwks(settings.oidc_issuer, settings.oidc_jwks_uri, http)
        oidc = Oidc(
            jwks,
            issuer=settings.oidc_issuer,
            audience=settings.oidc_audience or "",
            scope_claim=settings.oidc_scope_claim,
            leeway=settings.oidc_leeway,
        )
    rates = None
    if settings.rate_limit:
        url = settings.rate_limit_storage
        shared = SharedCounters(url.get_secret_value()) if url else None
        rates = RateLimits(settings.rate_limit, shared)
    return Auth(SignIn(keys, oidc), rates, jwks, http, renewing)


def make_http() -> httpx.AsyncClient:
    """What speaks to the identity provider; no redirects, for they could leave TLS."""
    import httpx

    return httpx.AsyncClient(follow_redirects=False)


def _audit_log(settings: Settings) -> AuditLog | None:
    if settings.audit_log is None:
        return None
    return AuditLog(
        settings.audit_log,
        key=read_key(settings.audit_key) if settings.audit_key is not None else None,
        file_bytes=settings.audit_file_bytes,
        kept_files=settings.audit_files,
    )


def _upload_limits(settings: Settings) -> UploadLimits:
    return UploadLimits(
        settings.max_body,
        settings.upload_patience,
        settings.upload_timeout,
        settings.min_upload_rate,
        settings.upload_grace,
    )


def _describe(app: FastAPI) -> None:
    """Have `/openapi.json` say what FastAPI cannot see."""

    def document() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = openapi.complete(
                get_openapi(
                    title=app.title,
                    version=app.version,
                    summary=app.summary,
                    description=app.description,
                    routes=app.routes,
                ),
                inference_protocol.SCHEMAS,
            )
        return app.openapi_schema

    app.openapi = document  # type: ignore[method-assign]
