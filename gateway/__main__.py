"""`blindgate-gateway`, or `python -m gateway`: run one gateway process."""

from __future__ import annotations

import gc
import sys

from blindgate.errors import BlindgateError
from blindgate.failures import INSTALL_CHECKOUT, one_line_errors

# Around the imports, too: a package that is not installed is one line.
with one_line_errors("blindgate-gateway", install=INSTALL_CHECKOUT, code=2):
    import uvicorn
    from pydantic import ValidationError
    from pydantic_settings import CliApp, SettingsError

    from gateway.app import create_app
    from gateway.http.connections import server_options
    from gateway.settings import Settings
    from gateway.telemetry.logging import log_to_stdout


class Misused(BlindgateError):
    """The arguments cannot be read."""


def main(arguments: list[str] | None = None) -> None:
    """Read the settings and serve until a signal comes."""
    with one_line_errors("blindgate-gateway", install=INSTALL_CHECKOUT, code=2):
        settings = _read(sys.argv[1:] if arguments is None else arguments)
        app = create_app(settings)
    log_to_stdout(settings.log_level)
    # What is loaded stays: the collector need not go through it again for every few requests.
    gc.collect()
    gc.freeze()
    # The host and port are given to uvicorn, never a bound socket: with one it loses TCP_NODELAY
    # and every keep-alive request takes 40 ms more (uvicorn issue 3149).
    uvicorn.run(
        app,
        host=settings.host,
        port=settings.port,
        loop="uvloop",
        # A failure at the start ends the process instead of leaving it without enclaves.
        lifespan="on",
        timeout_graceful_shutdown=max(1, round(settings.drain_seconds)),
        **server_options(app, settings),
    )


def _read(arguments: list[str]) -> Settings:
    """The settings; the process ends with one line for each mistake in them."""
    try:
        return CliApp.run(Settings, cli_args=arguments)
    except ValidationError as error:
        for fault in error.errors(include_url=False, include_input=False):
            where = ".".join(map(str, fault["loc"])) or "settings"
            print(f"blindgate-gateway: {where}: {fault['msg']}", file=sys.stderr)
        raise SystemExit(2) from None
    except SettingsError as error:
        said = str(error).removeprefix("error parsing CLI: ")
        raise Misused(f"{said}. See: blindgate-gateway --help") from None


if __name__ == "__main__":
    main()
