"""Downloads of locked packages, kept in the cache under their own digests."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

import httpx

from blindgate.atomic_files import write_file
from blindgate.cache import cache_folder
from enclave_image.debian.lock import Lock, Package
from enclave_image.debian.mirrors import VARIABLE, Mirrors, find_mirrors
from enclave_image.errors import FetchFailed

_SECONDS: Final = 60.0

Said = Callable[[str], None]


def fetch(
    lock: Lock,
    packages: Iterable[Package] | None = None,
    *,
    mirrors: Mirrors | None = None,
    cache: Path | None = None,
    transport: httpx.BaseTransport | None = None,
    said: Said = lambda _: None,
) -> dict[str, Path]:
    """Have packages of a lock on disk.

    Args:
        lock: Says what they are.
        packages: Which of them; default all.
        mirrors: Where to ask.
        cache: Default: `cache_folder()`.
        transport: Of the HTTP client, for tests.
        said: Told of each download.

    Returns:
        The file of each package, by name. Its SHA-256 is the lock's.

    Raises:
        FetchFailed: One is nowhere to be had, or every copy of it is another file.
    """
    folder = (cache or cache_folder()) / "debian"
    mirrors = mirrors or find_mirrors()
    found: dict[str, Path] = {}
    with httpx.Client(timeout=_SECONDS, follow_redirects=True, transport=transport) as client:
        for package in lock.packages if packages is None else packages:
            path = folder / package.sha256[:2] / f"{package.sha256}.deb"
            if not _is(path, package):
                said(f"{package.name} {package.version}")
                write_file(path, _download(client, package, mirrors, lock.snapshot))
            found[package.name] = path
    return found


def _is(path: Path, package: Package) -> bool:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest() == package.sha256
    except OSError:
        return False


def _download(client: httpx.Client, package: Package, mirrors: Mirrors, snapshot: str) -> bytes:
    faults = []
    for url in mirrors.urls(package, snapshot):
        host = httpx.URL(url).host
        try:
            data = _get(client, url, package.size)
        except httpx.HTTPError as error:
            faults.append(f"{host}: {error}")
            continue
        if hashlib.sha256(data).hexdigest() == package.sha256:
            return data
        faults.append(f"{host}: has another file of that name")
    reasons = "; ".join(faults) or "no mirror is known"
    raise FetchFailed(
        f"cannot fetch {package.name} {package.version}: {reasons}; name another Debian mirror "
        f"with --mirror or {VARIABLE}"
    )


def _get(client: httpx.Client, url: str, size: int) -> bytes:
    """The answer's body, of which more than `size` bytes are never read."""
    with client.stream("GET", url) as response:
        response.raise_for_status()
        data = bytearray()
        for chunk in response.iter_bytes():
            data += chunk
            if len(data) > size:
                break
    return bytes(data)
