"""Writes AWS Encryption SDK messages by hand, from the specification, right or wrong.

Everything that is wrong is authenticated nevertheless, so that a reader which does not check it
would open the message.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA384, SHA512
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

KEY = bytes(range(32))
UNSIGNED, SIGNED = 0x0478, 0x0578
FRAME, FINAL, BLOCK = (
    b"AWSKMSEncryptionClient Frame",
    b"AWSKMSEncryptionClient Final Frame",
    b"AWSKMSEncryptionClient Single Block",
)
Pair = tuple[bytes, bytes]
DataKey = tuple[bytes, bytes, bytes]


def field(data: bytes) -> bytes:
    return len(data).to_bytes(2, "big") + data


def point(key: ec.EllipticCurvePrivateKey) -> bytes:
    public = key.public_key()
    return public.public_bytes(Encoding.X962, PublicFormat.CompressedPoint)


class Writer:
    """One message: its header, and parts that can be put behind it in any order.

    Args:
        suite: The algorithm suite id.
        frame: The frame length of the header.
        framed: The content type; by default what fits the frame length.
        context: Pairs in the order in which they are written.
        data_keys: Provider id, provider information and ciphertext of each.
        version: The message format version.
        signer: The key whose public half is in the context, for a suite that signs.
        verification: The context's value for it, if it is to be another.
        key: The data key.
    """

    def __init__(
        self,
        *,
        suite: int = UNSIGNED,
        frame: int = 16,
        framed: int | None = None,
        context: Sequence[Pair] = ((b"purpose", b"blindgate"),),
        data_keys: Sequence[DataKey] = ((b"aws-kms", b"arn", b"wrapped"),),
        version: int = 2,
        signer: ec.EllipticCurvePrivateKey | None = None,
        verification: bytes | None = None,
        key: bytes = KEY,
    ) -> None:
        self.key, self.data_keys = key, data_keys
        self.message_id = bytes(range(100, 132))
        self.signer = signer or ec.generate_private_key(ec.SECP384R1())
        if suite == SIGNED:
            encoded = verification or base64.b64encode(point(self.signer))
            context = sorted([*context, (b"aws-crypto-public-key", encoded)])
        info = suite.to_bytes(2, "big") + b"DERIVEKEY"
        self.cipher = AESGCM(self._derive(info))
        pairs = b"".join(field(name) + field(value) for name, value in context)
        if context:
            pairs = len(context).to_bytes(2, "big") + pairs
        content_type = framed if framed is not None else 2 if frame else 1
        body = b"".join(
            (
                version.to_bytes(1, "big"),
                suite.to_bytes(2, "big"),
                self.message_id,
                field(pairs),
                len(data_keys).to_bytes(2, "big"),
                *(field(part) for key in data_keys for part in key),
                content_type.to_bytes(1, "big"),
                frame.to_bytes(4, "big"),
                self._derive(b"COMMITKEY"),
            )
        )
        self.header = body + self.cipher.encrypt(bytes(12), b"", body)
        self.suite, self.frame = suite, frame

    def _derive(self, info: bytes) -> bytes:
        return HKDF(SHA512(), 32, self.message_id, info).derive(self.key)

    def _encrypt(self, label: bytes, number: int, content: bytes) -> tuple[bytes, bytes]:
        iv = number.to_bytes(12, "big")
        aad = self.message_id + label + number.to_bytes(4, "big") + len(content).to_bytes(8, "big")
        return iv, self.cipher.encrypt(iv, content, aad)

    def regular(self, number: int, content: bytes) -> bytes:
        iv, encrypted = self._encrypt(FRAME, number, content)
        return number.to_bytes(4, "big") + iv + encrypted

    def final(self, number: int, content: bytes) -> bytes:
        iv, encrypted = self._encrypt(FINAL, number, content)
        length = len(content).to_bytes(4, "big")
        return b"\xff" * 4 + number.to_bytes(4, "big") + iv + length + encrypted

    def block(self, content: bytes) -> bytes:
        iv, encrypted = self._encrypt(BLOCK, 1, content)
        return iv + len(content).to_bytes(8, "big") + encrypted

    def footer(self, signed: bytes) -> bytes:
        digest = hashlib.sha384(signed).digest()
        return field(self.signer.sign(digest, ec.ECDSA(Prehashed(SHA384()))))

    def message(self, *parts: bytes) -> bytes:
        """The header, these parts, and a signature if the suite has one."""
        unsigned = b"".join((self.header, *parts))
        return unsigned + self.footer(unsigned) if self.suite == SIGNED else unsigned

    def numbered(self, *numbers: int, final: int) -> bytes:
        """A message whose frames have these numbers."""
        content = bytes(self.frame)
        regular = (self.regular(number, content) for number in numbers)
        return self.message(*regular, self.final(final, b""))

    def write(self, content: bytes) -> bytes:
        """The message as it should be."""
        if not self.frame:
            return self.message(self.block(content))
        full = max(len(content) - 1, 0) // self.frame
        frames = [content[n * self.frame : (n + 1) * self.frame] for n in range(full + 1)]
        regular = [self.regular(n, frame) for n, frame in enumerate(frames[:-1], 1)]
        return self.message(*regular, self.final(full + 1, frames[-1]))
