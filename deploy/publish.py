"""Upload an enclave image and a release, and print the fleet entry that runs them.

    python deploy/publish.py --bucket BUCKET --eif blindgate.eif --release blindgate-release.tar.gz

prints JSON for one entry of Terraform's `fleets`: keys, the version ids that S3 gave, and the
SHA-256 of the files as they are here. Instances fetch exactly these versions and check the digests.
What the builder wrote beside the image about memory, CPUs and KMS (`blindgate.requirements.json`)
goes into the entry too, so that Terraform checks it when it plans.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import json
import sys
from pathlib import Path
from typing import Any

import boto3
from botocore.exceptions import BotoCoreError, ClientError


def publish(s3: Any, bucket: str, path: Path) -> dict[str, str]:
    """Upload one file under a name that holds its digest.

    Returns:
        Its key, version id and SHA-256 in hexadecimal.

    Raises:
        ValueError: The bucket keeps no versions, so a later upload could replace the file.
    """
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256")
        file.seek(0)
        key = f"{path.stem}/{digest.hexdigest()[:16]}{path.suffix}"
        # S3 checks what arrives against the digest that was made here.
        stored = s3.put_object(
            Bucket=bucket,
            Key=key,
            Body=file,
            ChecksumSHA256=base64.b64encode(digest.digest()).decode(),
        )
    version = stored.get("VersionId")
    if version in (None, "null"):
        raise ValueError(f"the bucket {bucket} keeps no versions; use the artifacts module's")
    return {"key": key, "version_id": version, "sha256": digest.hexdigest()}


def requirements(eif: Path) -> dict[str, Any] | None:
    """What the builder says that the image needs; None for an image of another builder.

    Raises:
        OSError: The file cannot be read.
        ValueError: It is about another image, or is not such a file.
    """
    path = eif.with_suffix(".requirements.json")
    if not path.exists():
        return None
    try:
        found = json.loads(path.read_text())
        about = found["eif_sha256"]
        needs = {name: found[name] for name in ("architecture", "memory_mib", "cpus")}
        # An image that an older builder made does not say where it asks KMS.
        if "kms" in found:
            needs["kms"] = found["kms"]
    except (ValueError, KeyError, TypeError):
        raise ValueError(
            f"{path} is not what `blindgate image build` writes: build again"
        ) from None
    with eif.open("rb") as file:
        if hashlib.file_digest(file, "sha256").hexdigest() != about:
            raise ValueError(f"{path} is about another image than {eif}: build again")
    return needs


def main() -> None:
    """Upload both files and print the entry."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--bucket", required=True, help="`terraform output -raw artifact_bucket`")
    parser.add_argument("--eif", type=Path, required=True)
    parser.add_argument("--release", type=Path, required=True)
    parser.add_argument("--min", type=int, default=2, help="instances at least")
    parser.add_argument("--max", type=int, help="instances at most; twice --min if left out")
    parser.add_argument("--region", help="the bucket's; from your AWS configuration if left out")
    arguments = parser.parse_args()
    try:
        needs = requirements(arguments.eif)
        if needs is None:
            print(
                f"publish: no {arguments.eif.stem}.requirements.json beside the image, so "
                "Terraform cannot check memory and CPUs",
                file=sys.stderr,
            )
        s3 = boto3.client("s3", region_name=arguments.region)
        entry: dict[str, Any] = {
            "eif": publish(s3, arguments.bucket, arguments.eif),
            "release": publish(s3, arguments.bucket, arguments.release),
            "min": arguments.min,
            "max": 2 * arguments.min if arguments.max is None else arguments.max,
        }
        if needs is not None:
            entry["requirements"] = needs
    except (OSError, ValueError, BotoCoreError, ClientError) as error:
        sys.exit(f"publish: {error}")
    print(json.dumps(entry, indent=2))


if __name__ == "__main__":
    main()
