"""CiphertextForRecipient, to the byte."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest
from asn1crypto.cms import ContentInfo
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from devstack.kms.cms import ContentForm, encode, envelop

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.mark.parametrize(
    ("name", "form"),
    [
        ("sdkc-cms-explicit-constructed", ContentForm.CONSTRUCTED),
        ("sdkc-cms-implicit-primitive", ContentForm.PRIMITIVE),
    ],
)
def test_real_answers_are_written_again_to_the_byte(
    vector: Callable[[str], Path], name: str, form: ContentForm
) -> None:
    real = vector(f"cms/{name}.ber").read_bytes()
    enveloped = ContentInfo.load(real)["content"]
    info = enveloped["recipient_infos"][0].chosen
    content = enveloped["encrypted_content_info"]
    again = encode(
        key_identifier=info["rid"].chosen.native,
        encrypted_key=info["encrypted_key"].native,
        iv=content["content_encryption_algorithm"]["parameters"].native,
        content=content["encrypted_content"].native,
        form=form,
    )
    assert again == real


@pytest.mark.parametrize("form", list(ContentForm))
@pytest.mark.parametrize("size", [1, 32, 127, 1024])
def test_openssl_opens_what_is_written(tmp_path: Path, form: ContentForm, size: int) -> None:
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("there is no openssl command here")
    key = rsa.generate_private_key(65537, 2048)
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (tmp_path / "key.pem").write_bytes(pem)
    plaintext = hashlib.shake_256(b"%d" % size).digest(size)
    (tmp_path / "cms.ber").write_bytes(envelop(key.public_key(), plaintext, form))
    opened = subprocess.run(
        [
            openssl,
            *[
                "cms",
                "-decrypt",
                "-binary",
                "-inform",
                "DER",
                "-in",
                "cms.ber",
                "-inkey",
                "key.pem",
            ],
        ],
        cwd=tmp_path,
        capture_output=True,
        check=True,
    )
    assert opened.stdout == plaintext
