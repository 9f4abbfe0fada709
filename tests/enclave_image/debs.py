"""Small Debian packages for tests."""

from __future__ import annotations

import hashlib
import io
import lzma
import tarfile
from collections.abc import Mapping

from enclave_image.debian.lock import Asked, Lock, Package

ASKED = Asked(("debian trixie main",), ("hello",))
SNAPSHOT = "20261123T000000Z"


def deb(files: Mapping[str, bytes], links: Mapping[str, str] | None = None) -> bytes:
    """A package with these files and symbolic links."""
    tar = io.BytesIO()
    with tarfile.open(fileobj=tar, mode="w") as archive:
        folder = tarfile.TarInfo("./usr")
        folder.type = tarfile.DIRTYPE
        archive.addfile(folder)
        for name, data in files.items():
            info = tarfile.TarInfo(f"./{name}")
            info.size = len(data)
            info.mode = 0o755 if "/bin/" in name else 0o644
            archive.addfile(info, io.BytesIO(data))
        for name, target in (links or {}).items():
            info = tarfile.TarInfo(f"./{name}")
            info.type, info.linkname = tarfile.SYMTYPE, target
            archive.addfile(info)
    members = [
        (b"debian-binary", b"2.0\n"),
        (b"control.tar.xz", lzma.compress(b"odd")),
        (b"data.tar.xz", lzma.compress(tar.getvalue())),
    ]
    out = b"!<arch>\n"
    for member, data in members:
        out += member.ljust(16) + b"0".ljust(12) + b"0".ljust(6) * 2 + b"100644".ljust(8)
        out += str(len(data)).encode().ljust(10) + b"`\n" + data + b"\n" * (len(data) % 2)
    return out


def package(data: bytes, name: str = "hello") -> Package:
    """A lock's line for a package's file."""
    path = f"pool/main/h/{name}/{name}_1.0_amd64.deb"
    return Package(name, "1:1.0", "debian", path, len(data), hashlib.sha256(data).hexdigest())


def lock(*packages: Package) -> Lock:
    """A lock of packages."""
    return Lock(ASKED, SNAPSHOT, packages)
