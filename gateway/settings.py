"""Every setting of the gateway, its default, and the reason for it.

Read from `BLINDGATE_…` variables and from the flags of `blindgate-gateway`; a flag wins.
Lists are comma separated.
"""

from __future__ import annotations

import ipaddress
from pathlib import Path
from typing import Annotated, Any, Final, Self

from limits import parse as parse_rate
from pydantic import Field, SecretStr, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from blindgate.imaging.limits import MAX_BODY_BYTES
from blindgate.link import parse_address
from blindgate.link.frames import MAX_DEADLINE_MS
from gateway.auth.cors import is_origin
from gateway.auth.jwks import is_safe_url

MIB: Final = 1024 * 1024


def _split(value: Any) -> Any:
    """`a,b` of a variable or a flag; a flag may also be given several times."""
    if isinstance(value, str):
        value = [value]
    if isinstance(value, list | tuple):
        return [
            part.strip()
            for item in value
            for part in (item.split(",") if isinstance(item, str) else [item])
            if not isinstance(part, str) or part.strip()
        ]
    return value


class Settings(BaseSettings):
    """Settings of one gateway process; each may also be a BLINDGATE_… variable."""

    model_config = SettingsConfigDict(
        env_prefix="BLINDGATE_",
        frozen=True,
        extra="forbid",
        cli_kebab_case=True,
        cli_implicit_flags=True,
        cli_prog_name="blindgate-gateway",
        cli_hide_none_type=True,
        cli_avoid_json=True,
        cli_exit_on_error=False,
    )

    host: str = Field("127.0.0.1", description="Address to listen at.")
    port: int = Field(8080, ge=0, le=65535, description="Port to listen at; 0 takes a free one.")
    log_level: str = Field("info", pattern="^(debug|info|warning|error)$")
    metrics_host: str = Field("127.0.0.1", description="Address to serve GET /metrics at.")
    metrics_port: int | None = Field(
        None,
        ge=0,
        le=65535,
        description="Port to serve GET /metrics at, apart from the clients'; without it, none is.",
    )

    # Enclaves

    region: str | None = Field(
        None,
        pattern="^[a-z0-9-]{1,32}$",
        description="This instance's Region: where enclaves ask KMS whose image names several.",
    )
    enclaves: Annotated[tuple[str, ...], NoDecode] = Field(
        (), description="Enclaves: vsock://CID:PORT, unix:///path or hybrid:///path:PORT."
    )
    nitro_cli: Path | None = Field(
        None,
        description="Ask this nitro-cli which enclaves run, instead of `enclaves`.",
    )
    nitro_port: int = Field(
        5005, ge=1, description="The vsock port on which enclaves that nitro-cli finds listen."
    )
    discovery_period: float = Field(
        5.0,
        gt=0,
        description="Seconds between two calls of nitro-cli: a process each, so not every second.",
    )
    pcrs: Annotated[tuple[Path, ...], NoDecode] = Field(
        (),
        description="JSON files of the measurements that may take traffic; several for blue/green.",
    )
    root: Path | None = Field(
        None, description="PEM file of another root than AWS's. For development only."
    )
    allow_debug: bool = Field(
        default=False, description="Let debug-mode enclaves take traffic. Never in production."
    )
    probe_period: float = Field(
        2.0,
        gt=0,
        description="Seconds between two looks at an enclave: a frozen one is out within "
        "probe_period + probe_patience.",
    )
    probe_patience: float = Field(
        5.0,
        gt=0,
        description="Seconds that an attestation or a status may take. Milliseconds are usual; "
        "an emulated enclave with busy CPUs takes a second or two.",
    )
    dial_timeout: float = Field(
        2.0, gt=0, description="Seconds that connecting may take; both ends are one machine."
    )
    connections_per_enclave: int = Field(
        32,
        ge=1,
        description="Connections to one enclave at most. Three for each of its threads are used "
        "(computing, waiting, arriving), 16 at least, so this is an enclave of ten threads.",
    )

    # Uploads

    max_body: int = Field(
        MAX_BODY_BYTES,
        ge=1024,
        description="Bytes of one body. A 50-megapixel JPEG of a phone has 10 to 25 MB; sealing "
        "adds up to a sixteenth, encryption some hundred bytes.",
    )
    byte_budget: int | None = Field(
        None,
        ge=1024,
        description="Bytes of all bodies that are in memory at once. 16 MiB for each thread of the "
        "ready enclaves if left out: five photos of 3 MB, of which it looks at two while others "
        "wait and come. Further uploads wait, before they are read.",
    )
    upload_patience: float = Field(
        5.0,
        ge=0,
        description="Seconds that an upload waits for memory, then it is refused: five times what "
        "64 uploads of 3 MB take on two cores. As many may wait as in the queue, together.",
    )
    head_timeout: float = Field(
        10.0,
        gt=0,
        description="Seconds for a new connection to send a request's head: a kilobyte or two, "
        "which the slowest mobile network delivers in half of that.",
    )
    upload_timeout: float = Field(
        60.0, gt=0, description="Seconds that one body may take to arrive, whatever its rate."
    )
    min_upload_rate: int = Field(
        16 * 1024,
        ge=0,
        description="Bytes a second that a body must arrive at, and a response be read at, after "
        "the first `upload_grace` seconds: a poor mobile uplink has twice that.",
    )
    upload_grace: float = Field(
        5.0, gt=0, description="Seconds without a minimum rate: TCP starts slowly, radios wake up."
    )

    # Waiting

    queue: int = Field(
        256,
        ge=0,
        description="Requests that wait for an enclave. Two cores answer about 100 a second, so "
        "the last waits some three seconds. One that would be answered after its deadline is "
        "refused even if there is a place.",
    )
    default_deadline: float = Field(
        30.0,
        gt=0,
        description="Seconds for a request without a Request-Timeout header: below the 60 s at "
        "which load balancers give up.",
    )
    max_deadline: float = Field(
        120.0,
        gt=0,
        le=MAX_DEADLINE_MS / 1000,
        description="The longest Request-Timeout: a whole upload and a full queue.",
    )
    drain_seconds: float = Field(
        20.0, ge=0, description="Seconds to finish requests on SIGTERM; systemd waits for 90."
    )

    # Callers

    api_keys: Path | None = Field(
        None, description="File of API keys, as `blindgate keys` writes it."
    )
    api_keys_secret: str | None = Field(
        None, description="Name or ARN of a secret in AWS Secrets Manager with API keys."
    )
    api_keys_period: float = Field(
        60.0,
        gt=0,
        description="Seconds between two readings of the secret: how long a revoked key lives on.",
    )
    oidc_issuer: str | None = Field(
        None, description="Issuer of the OpenID Connect tokens that are taken, as in `iss`."
    )
    oidc_audience: str | None = Field(None, description="What `aud` of a token must hold.")
    oidc_jwks_uri: str | None = Field(
        None, description="Where the issuer's keys are; found by discovery if left out."
    )
    oidc_scope_claim: str = Field(
        "scope", min_length=1, description="The claim that holds detect, attest or admin."
    )
    oidc_leeway: float = Field(
        30.0, ge=0, le=300, description="Seconds by which the issuer's clock may differ from ours."
    )
    allow_anonymous: bool = Field(
        default=False,
        description="Listen on other addresses than loopback without API keys and OIDC: for "
        "gateways that something else guards.",
    )
    rate_limit: str = Field(
        "",
        description="Units of work for each caller, such as 600/minute; empty for no limit. A "
        "detection is a unit; docs/api.md has the table.",
    )
    rate_limit_storage: SecretStr | None = Field(
        None,
        description="URL of a Redis, such as rediss://:password@host:6379/0, in which several "
        "gateways count together; without it, each counts by itself.",
    )
    audit_log: Path | None = Field(
        None,
        description="File of the audit log: one chained line for each request that reaches an "
        "enclave. A request whose line cannot be written is not answered.",
    )
    audit_key: Path | None = Field(
        None,
        description="File with a key of 32 to 1024 bytes, for HMACs in the audit log: then a "
        "rewritten log is found by everybody who has the key, and nobody else can check it.",
    )
    audit_file_bytes: int = Field(
        64 * MIB,
        ge=64 * 1024,
        description="Bytes of one file of the audit log, some 150,000 records; a full one is "
        "renamed to the log's name with the number of its last record.",
    )
    audit_files: int = Field(
        32,
        ge=1,
        description="Full files of the audit log that are kept; the oldest are deleted. With "
        "files of 64 MiB 2 GiB, of which an instance of ours has room for several.",
    )
    cors_origins: Annotated[tuple[str, ...], NoDecode] = Field(
        (), description="Origins of web pages that may call, such as https://app.example."
    )

    trusted_proxies: Annotated[tuple[str, ...], NoDecode] = Field(
        (),
        description="Addresses or networks, such as 10.0.0.0/24, of the load balancers in front: "
        "what they write into X-Forwarded-For is the caller's address in rate limits and the "
        "audit log. From any other peer the header is ignored.",
    )

    @field_validator("enclaves", "pcrs", "cors_origins", "trusted_proxies", mode="before")
    @classmethod
    def _read_list(cls, value: Any) -> Any:
        return _split(value)

    @field_validator("enclaves")
    @classmethod
    def _read_addresses(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for text in value:
            parse_address(text)
        return value

    @field_validator("cors_origins")
    @classmethod
    def _check_origins(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for text in value:
            if not is_origin(text):
                raise ValueError(f"{text} is not an origin such as https://app.example")
        return value

    @field_validator("trusted_proxies")
    @classmethod
    def _check_proxies(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for text in value:
            try:
                network = ipaddress.ip_network(text)
            except ValueError:
                raise ValueError(f"{text} is not an address or a network (10.0.0.0/24)") from None
            if network.prefixlen == 0:
                raise ValueError(f"{text} would let every client choose its own address")
        return value

    @field_validator("oidc_issuer", "oidc_jwks_uri")
    @classmethod
    def _check_url(cls, value: str | None) -> str | None:
        if value is not None and not is_safe_url(value):
            raise ValueError("must be an https URL: what comes from there decides who is let in")
        return value

    @field_validator("rate_limit")
    @classmethod
    def _check_rate(cls, value: str) -> str:
        if value:
            try:
                amount = parse_rate(value).amount
            except ValueError:
                amount = 0
            if amount < 1:
                raise ValueError("must be such as 600/minute or 10/second")
        return value

    @model_validator(mode="after")
    def _check_callers(self) -> Self:
        if self.oidc_issuer and not self.oidc_audience:
            raise ValueError("oidc_issuer needs oidc_audience: a token for others must not count")
        if self.oidc_audience and not self.oidc_issuer:
            raise ValueError("oidc_audience needs oidc_issuer")
        signs_in = self.api_keys or self.api_keys_secret or self.oidc_issuer
        if not (signs_in or self.allow_anonymous or _is_loopback(self.host)):
            raise ValueError(
                f"{self.host} can be reached from elsewhere and nobody would have to sign in: "
                "set api_keys, api_keys_secret or oidc_issuer, or allow_anonymous if something "
                "else guards it"
            )
        return self

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.byte_budget is not None and self.byte_budget < self.max_body:
            raise ValueError("byte_budget must hold at least one body of max_body bytes")
        if self.default_deadline > self.max_deadline:
            raise ValueError("default_deadline is above max_deadline")
        if self.rate_limit_storage is not None and not self.rate_limit:
            raise ValueError("rate_limit_storage without a rate_limit counts nothing")
        if self.audit_key is not None and self.audit_log is None:
            raise ValueError("audit_key without an audit_log is the key of nothing")
        if self.nitro_cli is not None and self.enclaves:
            raise ValueError("name enclaves, or have nitro_cli find them, not both")
        return self


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
