from __future__ import annotations

import stat
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from enclave_image.architecture import ARM64, X86_64
from enclave_image.build import debian_lock
from enclave_image.debian.deb import read_files
from enclave_image.debian.fetch import fetch
from enclave_image.debian.lock import Package, read, to_text
from enclave_image.debian.mirrors import VARIABLE, Mirrors, find_mirrors
from enclave_image.debian.renew import _chosen
from enclave_image.errors import FetchFailed, ImageError, LockError
from tests.enclave_image.debs import ASKED, SNAPSHOT, deb, lock, package

MIRROR = Mirrors({"debian": "http://mirror.test/debian"})


def test_a_packages_files_are_read_without_dpkg(tmp_path: Path) -> None:
    path = tmp_path / "hello.deb"
    path.write_bytes(deb({"usr/bin/hello": b"#!", "usr/share/x": b"y"}, {"usr/lib/a": "b"}))
    found = read_files(path)
    assert sorted(found) == ["usr/bin/hello", "usr/lib/a", "usr/share/x"]
    assert stat.S_IMODE(found["usr/bin/hello"].mode) == 0o755
    assert stat.S_IMODE(found["usr/share/x"].mode) == 0o644
    assert stat.S_ISLNK(found["usr/lib/a"].mode)


@pytest.mark.parametrize("data", [b"", b"!<arch>\n", b"PK\x03\x04", deb({"a": b"b"})[:-80]])
def test_what_is_no_package_is_a_typed_error(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "broken.deb"
    path.write_bytes(data)
    with pytest.raises(ImageError):
        read_files(path)


def test_a_lock_is_written_as_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "lock.toml"
    before = lock(package(b"1"), package(b"2", "other"))
    path.write_text(to_text(before))
    assert read(path) == before
    assert before.package("other").version == "1:1.0"
    with pytest.raises(LockError, match="no package absent"):
        before.package("absent")


@pytest.mark.parametrize(
    "wrong",
    [
        replace(package(b""), sha256="0" * 63),
        replace(package(b""), archive="ubuntu"),
        replace(package(b""), path="pool/../../etc/x.deb"),
        replace(package(b""), path="http://elsewhere/pool/x.deb"),
    ],
)
def test_a_lock_with_a_loose_end_is_refused(tmp_path: Path, wrong: Package) -> None:
    path = tmp_path / "lock.toml"
    path.write_text(to_text(lock(wrong)))
    with pytest.raises(LockError):
        read(path)


def test_the_committed_locks_name_every_input_and_no_host() -> None:
    for path in sorted(debian_lock(X86_64).parent.glob("debian-*.toml")):
        assert read(path).packages
        assert "://" not in path.read_text()
    for architecture in (X86_64, ARM64):
        locked = read(debian_lock(architecture))
        assert locked.asked.architecture == architecture.debian
        assert {"libc6", "python3.13-minimal"} <= {each.name for each in locked.packages}
    for path in debian_lock(X86_64).parent.glob("debian-kernel*.toml"):
        names = [each.name for each in read(path).packages]
        assert len([name for name in names if name.startswith("linux-source-")]) == 1


def answering(files: dict[str, bytes], asked: list[str]) -> httpx.MockTransport:
    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(str(request.url))
        data = files.get(str(request.url))
        return httpx.Response(404) if data is None else httpx.Response(200, content=data)

    return httpx.MockTransport(answer)


def test_a_package_is_fetched_once_and_then_taken_from_the_cache(tmp_path: Path) -> None:
    data = deb({"a": b"b"})
    locked = lock(package(data))
    asked: list[str] = []
    url = f"http://mirror.test/debian/{locked.packages[0].path}"
    transport = answering({url: data}, asked)
    for _ in range(2):
        paths = fetch(locked, mirrors=MIRROR, cache=tmp_path, transport=transport)
        assert paths["hello"].read_bytes() == data
    assert asked == [url]
    paths["hello"].write_bytes(b"damaged")
    fetch(locked, mirrors=MIRROR, cache=tmp_path, transport=transport)
    assert paths["hello"].read_bytes() == data


def test_a_version_that_the_mirror_dropped_comes_from_the_snapshot_archive(tmp_path: Path) -> None:
    data = deb({"a": b"b"})
    locked = lock(package(data))
    asked: list[str] = []
    place = f"debian/{SNAPSHOT}/{locked.packages[0].path}"
    transport = answering({f"https://snapshot.debian.org/archive/{place}": data}, asked)
    fetch(locked, mirrors=MIRROR, cache=tmp_path, transport=transport)
    assert len(asked) == 2


def test_a_mirror_that_lies_or_never_ends_is_refused(tmp_path: Path) -> None:
    data = deb({"a": b"b"})
    locked = lock(package(data))
    asked: list[str] = []
    url = f"http://mirror.test/debian/{locked.packages[0].path}"
    only = Mirrors(MIRROR.bases, snapshot=False)
    for lie in (data[:-1] + b"?", data + b"more"):
        with pytest.raises(FetchFailed, match="another file of that name"):
            fetch(locked, mirrors=only, cache=tmp_path, transport=answering({url: lie}, asked))
    with pytest.raises(FetchFailed, match="no mirror is known"):
        fetch(locked, mirrors=Mirrors({}, snapshot=False), cache=tmp_path)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_the_mirror_is_the_named_one_or_that_of_apt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    folder = tmp_path / "sources.list.d"
    folder.mkdir()
    (folder / "debian.sources").write_text(
        "Types: deb\n# http://old.test/debian\nURIs: http://one.test/debian/\nSuites: x\n"
    )
    (tmp_path / "sources.list").write_text(
        "deb [signed-by=/k.gpg] https://two.test/debian-security x main\n"
        "deb https://three.test/something-else x main\n"
    )
    (folder / "ignored.save").write_text("deb http://four.test/debian x main\n")
    bases = {
        "debian": "http://one.test/debian",
        "debian-security": "https://two.test/debian-security",
    }
    assert find_mirrors(apt=tmp_path).bases == bases
    assert find_mirrors("http://named.test/debian/").bases["debian"] == "http://named.test/debian"
    monkeypatch.setenv(VARIABLE, "http://variable.test/debian")
    assert find_mirrors(apt=tmp_path).bases["debian-security"].startswith("http://variable.test")
    monkeypatch.delenv(VARIABLE)
    assert find_mirrors(apt=tmp_path / "absent").bases == {}


def test_what_apt_would_install_is_filtered_by_what_was_asked() -> None:
    lines = [
        "'http://m/debian/pool/main/h/hello/hello_1.0_amd64.deb' hello_1%3a1.0_amd64.deb 1 MD5:x",
        "'http://m/debian/pool/main/s/systemd/systemd_2_amd64.deb' systemd_2_amd64.deb 1 MD5:x",
        "Reading package lists...",
    ]
    asked = replace(ASKED, leave_out=("systemd*",))
    assert dict(_chosen(lines, asked)) == {
        "hello": ("1:1.0", "http://m/debian/pool/main/h/hello/hello_1.0_amd64.deb")
    }
    assert not dict(_chosen(lines, replace(ASKED, keep=("other",))))
