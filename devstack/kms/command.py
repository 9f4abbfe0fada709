"""`blindgate dev kms`: the key management service on its own."""

from __future__ import annotations

import logging
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from blindgate.cli.console import err, fail
from blindgate.errors import BlindgateError


def kms(
    listen: Annotated[
        str, typer.Option(metavar="HOST:PORT", help="Where to listen; port 0 takes a free one.")
    ] = "127.0.0.1:4599",
    folder: Annotated[
        Path, typer.Option(help="Where keys, principals and certificates are kept.")
    ] = Path("out/dev-kms"),
    state: Annotated[
        Path | None, typer.Option(help="The state file.  [default: FOLDER/state.json]")
    ] = None,
    tls_dir: Annotated[
        Path | None, typer.Option(help="Certificates.  [default: FOLDER/tls]")
    ] = None,
    principals: Annotated[
        Path | None, typer.Option(help="Who may call.  [default: FOLDER/principals.json]")
    ] = None,
    nsm_root: Annotated[
        Path | None,
        typer.Option(help="PEM of the root of attestation documents.  [default: AWS's own]"),
    ] = None,
    region: Annotated[str, typer.Option(help="The region it stands for.")] = "us-east-1",
    account: Annotated[str, typer.Option(help="The account that owns it.")] = "111122223333",
) -> None:
    """Run a KMS that refuses what AWS KMS refuses.

    Signatures, key policies, grants and attestation documents are checked. It prints how to
    point `aws kms`, boto3 or the AWS Encryption SDK at it, and serves until Ctrl-C.

    Example: `blindgate dev kms --listen 127.0.0.1:4599 --nsm-root out/nsm/root.pem`
    """
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
    host, port = _address(listen)
    try:
        _run(
            host,
            port,
            state=state or folder / "state.json",
            tls_dir=tls_dir or folder / "tls",
            principals=principals or folder / "principals.json",
            aws_dir=folder / "aws",
            nsm_root=nsm_root,
            region=region,
            account=account,
        )
    except BlindgateError as error:
        fail(str(error))


def _address(listen: str) -> tuple[str, int]:
    found = re.fullmatch(r"(.+):(\d{1,5})", listen)
    if not found or int(found[2]) > 65535:
        fail(f"{listen!r} is no address", "Write it as 127.0.0.1:4599", code=2)
    return found[1], int(found[2])


def _run(
    host: str,
    port: int,
    *,
    state: Path,
    tls_dir: Path,
    principals: Path,
    aws_dir: Path,
    nsm_root: Path | None,
    region: str,
    account: str,
) -> None:
    from blindgate.attestation import AWS_NITRO_ROOT, Root
    from devstack.kms.accounts import ensure_principals, write_aws_files
    from devstack.kms.app import create_app
    from devstack.kms.principals import PrincipalsFile
    from devstack.kms.server import serve
    from devstack.kms.store import Store
    from devstack.kms.tls import ensure_certificates

    try:
        root = Root.from_pem(nsm_root.read_bytes()) if nsm_root else AWS_NITRO_ROOT
    except OSError as error:
        fail(f"{nsm_root} cannot be read: {error.strerror}")
    known = ensure_principals(principals, account, datetime.now(UTC))
    certificates = ensure_certificates(tls_dir, region)

    def announce(actual: int) -> None:
        config, credentials = write_aws_files(
            aws_dir,
            known,
            endpoint=f"https://{host}:{actual}",
            region=region,
            ca=certificates.ca,
        )
        err.print(f"dev KMS: https://{host}:{actual}, attestation root {root.name}")
        err.print(f"  export AWS_CONFIG_FILE={config.absolute()}")
        err.print(f"  export AWS_SHARED_CREDENTIALS_FILE={credentials.absolute()}")
        # The variable wins over the profile's ca_bundle, so an inherited one would get in the way.
        err.print(f"  export AWS_CA_BUNDLE={certificates.ca.absolute()}")
        err.print("  aws --profile admin kms create-key")
        err.print(f"  profiles: {', '.join(sorted(known))}")

    with Store(state) as store:
        app = create_app(
            store,
            root=root,
            region=region,
            account=account,
            principals=PrincipalsFile(principals),
        )
        serve(app, host=host, port=port, certificates=certificates, listening=announce)
