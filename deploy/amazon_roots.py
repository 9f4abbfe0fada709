"""Write the roots that KMS's certificates end in: the CA bundle of an enclave image.

    python deploy/amazon_roots.py > ca.pem

An enclave trusts these four for KMS and nothing else, instead of the hundred and more of a browser.
They are taken from the bundle that botocore ships and pinned here by SHA-256.

Source: Amazon Trust Services, "Repository", root certificates.
"""

from __future__ import annotations

import hashlib
import re
import ssl
import sys
from pathlib import Path
from typing import Final

import botocore

#: Names and SHA-256 of the certificates' DER.
ROOTS: Final = {
    "Amazon Root CA 1": "8ecde6884f3d87b1125ba31ac3fcb13d7016de7f57cc904fe1cb97c6ae98196e",
    "Amazon Root CA 2": "1ba5b2aa8c65401a82960118f80bec4f62304d83cec4713a19c39c011ea46db4",
    "Amazon Root CA 3": "18ce6cfe7bf14e60b2e347b8dfe868cb31d02ebb3ada271569f50343b46db3a4",
    "Amazon Root CA 4": "e35d28419ed02025cfa69038cd623962458da5c695fbdea3c22b0bfb25897092",
}


_PEM = re.compile(r"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----\n", re.DOTALL)


def bundle() -> str:
    """The four roots as PEM, each with its name.

    Raises:
        KeyError: botocore's bundle does not hold one of them.
    """
    source = Path(botocore.__file__).with_name("cacert.pem").read_text()
    found = {
        hashlib.sha256(ssl.PEM_cert_to_DER_cert(each)).hexdigest(): each
        for each in _PEM.findall(source)
    }
    return "".join(f"# {name}\n{found[digest]}" for name, digest in ROOTS.items())


if __name__ == "__main__":
    sys.stdout.write(bundle())
