"""Which gateway, which trust and whose key: options, variables and a configuration file.

An option counts more than a variable, and a variable more than the file. Keys and tokens are
taken from a file or from standard input, too, so that no list of processes shows them; they are
in no message.
"""

from __future__ import annotations

import getpass
import os
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, TypeVar

import typer

from blindgate import strict_toml
from blindgate.cli.console import err, fail
from blindgate.cli.files import read_file

if TYPE_CHECKING:
    import httpx

#: A person's own file has a few lines.
_MAX_CONFIG: Final = 64 * 1024
#: An API key has 64 characters, the token of an identity provider some thousand.
_MAX_SECRET: Final = 64 * 1024
_KEYS: Final = ("gateway", "trust", "api_key_file", "token_file")

_T = TypeVar("_T")

Gateway = Annotated[
    str | None,
    typer.Option(
        "--gateway", metavar="URL", help="The gateway's address.  [env: BLINDGATE_GATEWAY]"
    ),
]
TrustFiles = Annotated[
    list[str] | None,
    typer.Option(
        "--trust",
        metavar="FILE",
        help="Measurements (PCRs) of an enclave image that you trust, once for each; or "
        "`development` for the stack of `blindgate dev up`.  [env: BLINDGATE_TRUST]",
    ),
]
ApiKey = Annotated[
    str | None,
    typer.Option(
        "--api-key",
        metavar="KEY",
        help="Sign in with an API key: @FILE reads it from a file, - from standard input. A key "
        "that is written here shows in lists of processes.  [env: BLINDGATE_API_KEY]",
    ),
]
Token = Annotated[
    str | None,
    typer.Option(
        "--token",
        metavar="TOKEN",
        help="Sign in with a token of your identity provider; as --api-key."
        "  [env: BLINDGATE_TOKEN]",
    ),
]
Config = Annotated[
    Path | None,
    typer.Option(
        "--config",
        metavar="TOML",
        help="Where `gateway`, `trust`, `api_key_file` and `token_file` are set."
        "  [env: BLINDGATE_CONFIG; default: ~/.config/blindgate/config.toml]",
    ),
]


@dataclass(frozen=True, slots=True)
class Connection:
    """How to reach a gateway.

    Attributes:
        gateway: Its origin; None if nothing names one.
        trust: Files of measurements, or `development`.
        headers: What signs in.
    """

    gateway: httpx.URL | None
    trust: tuple[str, ...]
    headers: dict[str, str] = field(repr=False)

    def origin(self) -> httpx.URL:
        """The gateway's origin; without one the command ends."""
        if self.gateway is None:
            fail(
                "say which gateway to ask",
                "Give --gateway URL, or set BLINDGATE_GATEWAY or `gateway` in the configuration",
                code=2,
            )
        return self.gateway

    def client(self) -> httpx.Client:
        """A client that signs in."""
        import httpx

        from blindgate.client.request import TIMEOUT

        if self.gateway is not None and self.headers and _is_exposed(self.gateway):
            err.print(
                f"Warning: {self.gateway.host} is asked without TLS: the network sees the key.",
                style="yellow",
            )
        try:
            return httpx.Client(headers=self.headers, timeout=TIMEOUT)
        except (ValueError, httpx.InvalidURL) as error:
            fail(f"a proxy variable of the environment cannot be used: {error}", code=2)
        except OSError as error:
            fail(
                f"the certificates cannot be read: {error.strerror or error}",
                "Check SSL_CERT_FILE and SSL_CERT_DIR",
                code=2,
            )


def connection(
    *,
    gateway: str | None = None,
    trust: list[str] | None = None,
    api_key: str | None = None,
    token: str | None = None,
    config: Path | None = None,
) -> Connection:
    """Put together what options, variables and the configuration file say.

    Args:
        gateway: The option's value, and so are the others.
        trust: As `gateway`.
        api_key: As `gateway`.
        token: As `gateway`.
        config: As `gateway`.
    """
    settings = _read_config(config)
    url = _first(gateway, _variable("BLINDGATE_GATEWAY"), settings.get("gateway"))
    files = _first(trust, _list_variable("BLINDGATE_TRUST"), settings.get("trust"))
    return Connection(
        gateway=None if url is None else _origin(url),
        trust=tuple(files or ()),
        headers=_headers(api_key, token, settings),
    )


def _headers(api_key: str | None, token: str | None, settings: dict[str, Any]) -> dict[str, str]:
    from blindgate.client.errors import InvalidCredentials
    from blindgate.client.request import credentials

    levels = (
        (api_key, token, "--api-key or --token"),
        (
            _variable("BLINDGATE_API_KEY"),
            _variable("BLINDGATE_TOKEN"),
            "BLINDGATE_API_KEY or BLINDGATE_TOKEN",
        ),
        (
            _in_file(settings.get("api_key_file")),
            _in_file(settings.get("token_file")),
            "api_key_file or token_file",
        ),
    )
    for key, bearer, names in levels:
        if key is not None and bearer is not None:
            fail(f"give either {names}, not both", code=2)
        if key is None and bearer is None:
            continue
        try:
            return credentials(
                api_key=_secret(key, "API key"),
                token=_secret(bearer, "token"),
            )
        except InvalidCredentials as error:
            fail(str(error), code=2)
    return {}


def _secret(text: str | None, what: str) -> str | None:
    """A key or token that was given itself, as `@FILE` or as `-`."""
    if text is None or not (text == "-" or text.startswith("@")):
        return text
    if text.startswith("@"):
        content = read_file(Path(text[1:]).expanduser(), limit=_MAX_SECRET)
        try:
            return content.decode("utf-8-sig").strip()
        except UnicodeDecodeError:
            fail(f"{text[1:]} is not the file of an {what}", code=2)
    if sys.stdin.isatty():
        return getpass.getpass(f"{what[0].upper()}{what[1:]}: ").strip()
    return sys.stdin.readline(_MAX_SECRET).strip()


def _in_file(path: Path | None) -> str | None:
    return None if path is None else f"@{path}"


def _origin(url: str) -> httpx.URL:
    from blindgate.client.errors import InvalidGateway
    from blindgate.client.httpx_bridge import origin

    try:
        return origin(url)
    except InvalidGateway as error:
        fail(str(error), code=2)


def _is_exposed(url: httpx.URL) -> bool:
    return url.scheme == "http" and url.host not in ("localhost", "127.0.0.1", "::1")


def _first(*values: _T | None) -> _T | None:
    return next((value for value in values if value), None)


def _variable(name: str) -> str | None:
    """A variable's value; an empty one is as good as none."""
    return os.environ.get(name, "").strip() or None


def _list_variable(name: str) -> list[str] | None:
    value = _variable(name)
    return [each.strip() for each in value.split(",") if each.strip()] if value else None


def _read_config(path: Path | None) -> dict[str, Any]:
    named = path or (Path(text) if (text := _variable("BLINDGATE_CONFIG")) else None)
    file = (named or _default_config()).expanduser()
    if named is None and not file.is_file():
        return {}
    content = read_file(file, limit=_MAX_CONFIG)
    try:
        settings = strict_toml.decode(content, max_bytes=_MAX_CONFIG)
    except strict_toml.TomlError as error:
        fail(f"{file} is {error}", code=2)
    for name, value in settings.items():
        if name not in _KEYS:
            hint = f"It may set {', '.join(_KEYS)}"
            fail(f"{file} sets {name!r}, which is no setting", hint, code=2)
        is_list = name == "trust" and isinstance(value, list)
        if not all(isinstance(each, str) and each for each in (value if is_list else [value])):
            fail(f"{file}: {name} must be a text that is not empty", code=2)
    return _resolved(settings, file.parent)


def _default_config() -> Path:
    folder = os.environ.get("XDG_CONFIG_HOME") or "~/.config"
    return Path(folder).expanduser() / "blindgate" / "config.toml"


def _resolved(settings: dict[str, Any], folder: Path) -> dict[str, Any]:
    """The settings with paths that count from the configuration's folder."""
    from blindgate.client.trust import DEVELOPMENT

    def place(text: str) -> Path:
        return folder / Path(text).expanduser()

    for name in ("api_key_file", "token_file"):
        if name in settings:
            settings[name] = place(settings[name])
    if "trust" in settings:
        given = settings["trust"]
        settings["trust"] = [
            each if each == DEVELOPMENT else str(place(each))
            for each in (given if isinstance(given, list) else [given])
        ]
    return settings
