"""Downloads the real test data that is not part of the repository: `make vectors`.

Each entry names a file at a commit of a public GitHub repository and the SHA-256 of the data. Some
of it is written in source code, in hexadecimal or base64, or is part of a longer message; all
candidates are tried, and only data with the right SHA-256 is taken.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import re
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import httpx

from blindgate.attestation import parse
from blindgate.attestation.errors import AttestationError
from tests.vectors.places import FETCHED

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

GITHUB = "https://raw.githubusercontent.com"
TIMEOUT_S = 60
MAX_BYTES = 16 * 2**20
"""More than the largest file here (4 MB), and little enough to hold in memory."""
_COSE_HEAD = bytes.fromhex("8444a1013822")
"""How a document begins: a COSE_Sign1 array whose protected header says ES384."""


@dataclass(frozen=True)
class Source:
    """One file to fetch.

    Attributes:
        name: where it goes, below `tests/vectors/fetched`.
        repository: owner and name on GitHub.
        commit: a commit, a branch or `HEAD`.
        path: the file in the repository.
        size: of the data, in bytes.
        sha256: of the data, in hexadecimal.
    """

    name: str
    repository: str
    commit: str
    path: str
    size: int
    sha256: str


SOURCES = (
    Source(
        "attestation/2022-07-27-nitriding-57b70cf5.bin",
        "brave/nitriding",
        "5dcbb399b763ee831143a9efe927fb9340248c8f",
        "keysync_initiator_test.go",
        4487,
        "57b70cf5e68935e318c2b40a3dcdb98aa9a92f8527fb06bbcf8b2c71fe026eb5",
    ),
    Source(
        "attestation/2024-02-26-NitroProver-3a4a0301.bin",
        "marlinprotocol/NitroProver",
        "f1d368d1f172ad3a55cd2aaaa98ad6a6e7dcde9d",
        "test/nitro-attestation/sample_attestation.bin",
        4482,
        "3a4a0301e6aa2839f9321c59995a37700cfa25552ba423ba91acf6f4b0dbee66",
    ),
    Source(
        "attestation/2024-04-09-NitroProver-2cc69c53.bin",
        "marlinprotocol/NitroProver",
        "f1d368d1f172ad3a55cd2aaaa98ad6a6e7dcde9d",
        "broadcast/IncrementalNitroProver.s.sol/421614/run-1712669168.json",
        4478,
        "2cc69c5331850e341f0678f9ba55ce12379b78138cf4d5df85abb70c74cc1136",
    ),
    Source(
        "attestation/2024-08-07-oyster-monorepo-29ea0a7a.bin",
        "marlinprotocol/oyster-monorepo",
        "366b61f4ced24fb5d242da38eade8ebefb27723c",
        "attestation/verifier/src/test/attestation.hex",
        4532,
        "29ea0a7aa54c77a8fe7c729e6339b01c7003ad544c063a76a6ee54640298b2fb",
    ),
    Source(
        "attestation/2024-12-13-oyster-monorepo-d8032479-NONAWSROOT.bin",
        "marlinprotocol/oyster-monorepo",
        "366b61f4ced24fb5d242da38eade8ebefb27723c",
        "attestation/verifier-risczero/methods/guest/src/testcases/custom.bin",
        1950,
        "d8032479f7cb7ef77cd40f6d4916d0dce2db9d6a44e5ec30b47c40bee0d4d5dc",
    ),
    Source(
        "attestation/2025-04-04-tee-verifier-879688b3.bin",
        "0xsequence/tee-verifier",
        "e439f4f03d0ce005773febf2c9fe7bf563c4e5e4",
        "nitro/signed_attestation_test.go",
        4782,
        "879688b386aae7e9f65917261257abd799cb310a93540aa8411703e83b45a9e6",
    ),
    Source(
        "attestation/2025-04-29-oyster-monorepo-7b0ca130.bin",
        "marlinprotocol/oyster-monorepo",
        "366b61f4ced24fb5d242da38eade8ebefb27723c",
        "attestation/verifier-risczero/methods/guest/src/testcases/aws_pcr16.bin",
        4551,
        "7b0ca130a8e2332b6544d60d0724b1e9e8bceba66ee5019385d1b6b16cabf2af",
    ),
    Source(
        "air-show.jpg",
        "aws-samples/aws-nitro-enclaves-ai-ml-object-detection",
        "c526753c1e9e04648e7726430355a0ec4d023d20",
        "src/images/air-show.jpg",
        678511,
        "26adf99b9622a3a84af4acd921489441a2ee143b6c6349310ff4f6a2a3e68cde",
    ),
    Source(
        "yolox_nano.onnx",
        "Kazuhito00/YOLOX-ONNX-TFLite-Sample",
        "HEAD",
        "model/yolox_nano.onnx",
        3660092,
        "695e750a5d5754bb5a8d5325643b59282191a7e7a564e435a415fd3c578eab14",
    ),
    Source(
        "nanodet_m_416.onnx",
        "Kazuhito00/NanoDet-ONNX-Sample",
        "HEAD",
        "model/nanodet_m_416.onnx",
        3802805,
        "08b62b9ee4a7878e7a64d6ef4faf3074322c033a0252c83a20f41b86c76e8146",
    ),
)


class FetchError(Exception):
    """A file could not be had, or does not hold what it should."""


def _encoded(content: bytes) -> Iterator[bytes]:
    yield content
    text = content.decode(errors="replace")
    # C and Go arrays: 0x30, 0x80, …
    for run in re.findall(r"(?:0[xX][0-9a-fA-F]{2}\s*,\s*){64,}0[xX][0-9a-fA-F]{2}", text):
        yield bytes(int(value, 16) for value in re.findall(r"0[xX]([0-9a-fA-F]{2})", run))
    # Literals, also those that are written in several pieces: "84a1" \n "0138"
    joined = re.sub(r"[\"'`]\s*\+?\s*\\?\s*(?:hex)?[\"'`]|\\[nr]|\s+", "", text)
    for source in (text, joined):
        for run in re.findall(r"[0-9a-fA-F]{256,}", source):
            yield bytes.fromhex(run[: len(run) // 2 * 2])
        for run in re.findall(r"[A-Za-z0-9+/_-]{256,}={0,2}", source):
            plain = run.rstrip("=").translate(str.maketrans("-_", "+/"))
            try:
                yield base64.b64decode(plain + "=" * (-len(plain) % 4))
            except binascii.Error:
                continue


def pick(content: bytes, size: int, sha256: str) -> bytes:
    """The data with that SHA-256: the whole content, something encoded in it, or a part of that.

    Raises:
        FetchError: nothing in the content has that size and SHA-256.
    """
    for data in _encoded(content):
        starts = {0, *(match.start() for match in re.finditer(re.escape(_COSE_HEAD), data))}
        for start in sorted(starts):
            part = data[start : start + size]
            if hashlib.sha256(part).hexdigest() == sha256:
                return part
    msg = f"nothing in it has the SHA-256 {sha256}"
    raise FetchError(msg)


def _sidecar(source: Source, document: bytes) -> dict[str, object]:
    try:
        read = parse(document)
    except AttestationError as error:
        msg = f"not an attestation document: {error}"
        raise FetchError(msg) from error
    return {
        "source": [f"{source.repository}:{source.path}"],
        "commit": source.commit,
        "sha256": source.sha256,
        "module_id": read.module_id,
        "timestamp_ms": read.timestamp_ms,
        "timestamp": datetime.fromtimestamp(read.timestamp_ms / 1000, UTC).isoformat(),
        "debug_mode": all(not any(read.pcrs[at]) for at in (0, 1, 2)),
    }


def fetch(source: Source, folder: Path, base: str = GITHUB) -> None:
    """Puts one file into the folder, with a sidecar if it is an attestation document.

    Args:
        source: what to fetch.
        folder: where to; an existing file with the right SHA-256 is kept.
        base: the URL that stands for GitHub's, without a slash at the end.

    Raises:
        FetchError: it could not be had.
    """
    target = folder / source.name
    if target.is_file() and hashlib.sha256(target.read_bytes()).hexdigest() == source.sha256:
        return
    url = f"{base}/{source.repository}/{source.commit}/{source.path}"
    content = bytearray()
    try:
        with httpx.stream("GET", url, timeout=TIMEOUT_S, follow_redirects=True) as response:
            response.raise_for_status()
            for piece in response.iter_bytes():
                content += piece
                if len(content) > MAX_BYTES:
                    msg = f"{url}: more than {MAX_BYTES:,} bytes"
                    raise FetchError(msg)
    except httpx.HTTPError as error:
        msg = f"{url}: {error}"
        raise FetchError(msg) from error
    data = pick(bytes(content), source.size, source.sha256)
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.name.startswith("attestation/"):
        sidecar = json.dumps(_sidecar(source, data), indent=1)
        target.with_suffix(".json").write_text(sidecar + "\n")
    target.write_bytes(data)


def main(folder: Path = FETCHED, base: str = GITHUB) -> int:
    """Fetches everything, and says what could not be had.

    Returns:
        1 if a file is missing, else 0.
    """
    missing = 0
    for source in SOURCES:
        try:
            fetch(source, folder, base)
        except FetchError as error:
            missing += 1
            print(f"missing: {source.name}: {error}", file=sys.stderr)
        else:
            print(f"{source.name}  from {source.repository}")
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main(base=sys.argv[1].rstrip("/") if len(sys.argv) > 1 else GITHUB))
