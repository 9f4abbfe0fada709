"""Our kernel's options, its command line, and what is refused of kernels that are brought along."""

from __future__ import annotations

import gzip
import lzma
import os
import struct
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from blindgate.cache import cache_folder
from enclave_image.debian.mirrors import Mirrors
from enclave_image.errors import FetchFailed, ImageError, ToolchainError
from enclave_image.kernel import command_line, formats, options, sandbox
from enclave_image.kernel.choice import given_kernel
from enclave_image.kernel.source import build_kernel, kernel_lock
from tests.enclave_image.debs import deb, lock, package

CONFIG = "\n".join(f"{name}=y" for name in (*options._REQUIRED, *options._REQUIRED_X86))
SIGNED = b"\x7fELF code signature~Module signature appended~\n"
MIB = 1024 * 1024


class QuietHandler(SimpleHTTPRequestHandler):
    """Serves a folder and logs nothing."""

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the parent's name
        pass


def embedded(config: str) -> bytes:
    return b"code IKCFG_ST" + gzip.compress(config.encode()) + b"IKCFG_ED data"


def bzimage(payload: bytes = b"", *, sectors: int = 2) -> bytes:
    """A bzImage around a compressed payload."""
    setup = bytearray((sectors + 1) * 512)
    setup[0x1F1] = sectors
    setup[0x1FE:0x200] = b"\x55\xaa"
    setup[0x202:0x206] = b"HdrS"
    struct.pack_into("<H", setup, 0x20E, 0x200)
    setup[0x400:0x420] = b"6.12.118 (a@b) #1\0".ljust(32, b"\0")
    code = b"start" + payload
    code += bytes(-len(code) % 16)
    struct.pack_into("<I", setup, 0x1F4, len(code) // 16)
    struct.pack_into("<II", setup, 0x248, 5, len(payload))
    return bytes(setup) + code


def arm64_image(content: bytes = b"") -> bytes:
    header = bytearray(64)
    header[0x38:0x3C] = b"ARM\x64"
    return bytes(header) + content


@pytest.mark.parametrize("compress", [gzip.compress, lzma.compress])
def test_a_kernel_that_contains_its_options_is_taken(compress: type) -> None:
    kernel = bzimage(compress(embedded(CONFIG)))
    chosen = given_kernel(kernel, architecture="x86_64")
    assert chosen.image == kernel
    assert chosen.version == "6.12.118"
    assert "module.sig_enforce=1" not in chosen.command_line


def test_options_may_come_in_a_file() -> None:
    with pytest.raises(ImageError, match="--kernel-config FILE"):
        given_kernel(bzimage(b"unknown compression"), architecture="x86_64")
    assert given_kernel(bzimage(), architecture="x86_64", config=CONFIG).version == "6.12.118"
    with pytest.raises(ImageError, match=r"not a \.config"):
        given_kernel(bzimage(), architecture="x86_64", config="hello")


@pytest.mark.parametrize("name", [*options._REQUIRED, *options._REQUIRED_X86])
@pytest.mark.parametrize("value", ["# {} is not set", "{}=m", ""])
def test_each_required_option_is_missed(name: str, value: str) -> None:
    config = CONFIG.replace(f"{name}=y", value.format(name))
    with pytest.raises(ImageError, match=rf"{name} \(.+\)"):
        given_kernel(bzimage(), architecture="x86_64", config=config)


def test_files_that_are_no_bootable_kernel_are_told_apart() -> None:
    whole = bzimage(bytes(4096))
    for data, reason in {
        b"\x7fELF" + bytes(4096): "ELF file",
        whole[:-1]: "cut off",
        whole[:0x230]: "cut off",
        b"": "neither",
        bytes(4096): "neither",
        whole.replace(b"HdrS", b"HdrX"): "neither",
    }.items():
        with pytest.raises(ImageError, match=reason):
            given_kernel(data, architecture="x86_64", config=CONFIG)


def test_a_kernel_for_another_architecture_is_refused() -> None:
    with pytest.raises(ImageError, match="--architecture arm64"):
        given_kernel(arm64_image(), architecture="x86_64", config=CONFIG)
    with pytest.raises(ImageError, match="--architecture x86_64"):
        given_kernel(bzimage(), architecture="arm64", config=CONFIG)


def test_an_arm64_kernel_gets_the_load_offset_of_nitro() -> None:
    config = "\n".join(f"{name}=y" for name in options._REQUIRED)
    chosen = given_kernel(arm64_image(embedded(config)), architecture="arm64")
    assert struct.unpack_from("<Q", chosen.image, 8) == (0x200000,)
    assert chosen.image[16:] == arm64_image(embedded(config))[16:]


@pytest.mark.parametrize(
    ("content", "version"),
    [
        (b"code\0Linux version 6.12.117 (a@b) (gcc)\0", "6.12.117"),
        (b"Linux version ", "unknown"),
        (b"Linux version \0", "unknown"),
        (b"code", "unknown"),
        (b"", "unknown"),
    ],
)
def test_an_arm64_kernel_says_its_version_in_its_banner(content: bytes, version: str) -> None:
    assert formats.version(arm64_image(content)) == version


def test_modules_must_be_signed() -> None:
    kernel = bzimage()
    config = CONFIG.replace("CONFIG_NSM=y", "CONFIG_NSM=m")
    chosen = given_kernel(kernel, architecture="x86_64", config=config, modules={"nsm.ko": SIGNED})
    assert chosen.command_line.endswith("module.sig_enforce=1")
    for data, reason in {
        b"\x7fELF code": "not signed",
        SIGNED + b"more": "not signed",
        lzma.compress(SIGNED): "not a kernel module",
    }.items():
        with pytest.raises(ImageError, match=reason):
            given_kernel(kernel, architecture="x86_64", config=config, modules={"nsm.ko": data})
    with pytest.raises(ImageError, match=r"module\.sig_enforce=1"):
        given_kernel(
            kernel,
            architecture="x86_64",
            config=config,
            modules={"nsm.ko": SIGNED},
            line=command_line.command_line("x86_64"),
        )


@pytest.mark.parametrize(
    "word", ["init_on_free=1", "lockdown=confidentiality", "oops=panic", "panic=1"]
)
def test_words_that_protect_the_enclave_cannot_be_left_out(word: str) -> None:
    words = command_line.command_line("x86_64").split()
    words.remove(word)
    with pytest.raises(ImageError, match=word):
        command_line.check(" ".join([*words, f"x{word}"]), modules=False)
    command_line.check(" ".join([*words, word.replace("panic=1", "panic=30")]), modules=False)


def test_the_command_line_has_the_words_of_aws() -> None:
    # aws-nitro-enclaves-cli blobs/x86_64/cmdline, but for the seconds after a panic.
    words = (
        "reboot=k pci=off nomodules console=ttyS0 i8042.noaux i8042.nomux i8042.nopnp "
        "i8042.dumbkbd random.trust_cpu=on"
    )
    assert set(words.split()) <= set(command_line.command_line("x86_64").split())


@pytest.mark.parametrize("architecture", ["x86_64", "arm64"])
def test_every_option_of_ours_has_a_reason_and_those_required_are_there(architecture: str) -> None:
    ours = options.fragment(architecture)
    assert options.missing(ours, architecture) == []
    for name in ("MODULES", "PCI", "BLOCK", "INET", "BPF_SYSCALL", "KEXEC", "DEVMEM", "COREDUMP"):
        assert ours[f"CONFIG_{name}"] == "n"
    for name in ("NSM", "PTP_1588_CLOCK_KVM", "SECCOMP_FILTER", "SECURITY_LANDLOCK"):
        assert ours[f"CONFIG_{name}"] == "y"


def test_a_fragment_line_without_a_reason_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(options, "_HERE", tmp_path)
    (tmp_path / "common.config").write_text("CONFIG_A=y  # why\n")
    for line in ("CONFIG_B=y", "CONFIG_B=y #", "CONFIG_A=n  # again", "B=y  # why"):
        (tmp_path / "arm64.config").write_text(f"# title\n\n{line}\n")
        with pytest.raises(ImageError, match="reason"):
            options.fragment("arm64")


def test_what_kconfig_drops_is_noticed() -> None:
    wanted = {"CONFIG_A": "y", "CONFIG_B": "n", "CONFIG_C": "64", "CONFIG_D": "y"}
    config = options.parse("CONFIG_A=y\n# CONFIG_B is not set\nCONFIG_C=65\n")
    assert options.differences(wanted, config) == [
        "CONFIG_C is 65, not 64",
        "CONFIG_D is n, not y",
    ]
    assert options.allconfig(wanted) == (
        "CONFIG_A=y\n# CONFIG_B is not set\nCONFIG_C=64\nCONFIG_D=y\n"
    )


def test_without_chroot_and_user_namespaces_the_reason_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sandbox, "_NAMESPACES", ("--no-such-option",))
    with pytest.raises(ToolchainError, match=r"user namespaces.+--kernel") as caught:
        sandbox.run(tmp_path, ["/bin/true"])
    assert "\n" not in str(caught.value)


def test_without_a_sandbox_the_build_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("enclave_image.debian.lock.read", lambda _: lock())
    monkeypatch.setattr(sandbox, "_NAMESPACES", ("--no-such-option",))
    with pytest.raises(ToolchainError, match="user namespaces"):
        build_kernel("x86_64", cache=tmp_path)
    assert list((tmp_path / "kernels").iterdir()) == []


def test_a_toolchain_archive_with_another_digest_stops_the_build(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiler = deb({"usr/bin/gcc": b"as locked"})
    served = tmp_path / "debian" / package(compiler, "gcc").path
    served.parent.mkdir(parents=True)
    served.write_bytes(deb({"usr/bin/gcc": b"as changed"}))
    monkeypatch.setattr("enclave_image.debian.lock.read", lambda _: lock(package(compiler, "gcc")))
    monkeypatch.setattr(sandbox, "run", lambda *_: pytest.fail("the compiler ran"))
    handler = partial(QuietHandler, directory=str(tmp_path))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        mirror = Mirrors(
            {"debian": f"http://127.0.0.1:{server.server_port}/debian"}, snapshot=False
        )
        cache = tmp_path / "cache"
        with pytest.raises(FetchFailed, match=r"gcc 1:1\.0: .+another file.+--mirror") as caught:
            build_kernel("x86_64", mirrors=mirror, cache=cache)
        server.shutdown()
    assert "\n" not in str(caught.value)
    assert not [path for path in cache.rglob("*") if path.is_file()]


def test_a_full_disk_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import errno

    from enclave_image.kernel import source

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("enclave_image.debian.fetch.fetch", lambda *_, **__: {})
    monkeypatch.setattr(source, "_build", full)
    with pytest.raises(ImageError, match=r"no space left.+BLINDGATE_CACHE"):
        build_kernel("x86_64", cache=tmp_path)
    assert list((tmp_path / "kernels").iterdir()) == []


def test_a_damaged_kernel_in_the_cache_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from enclave_image.kernel import source

    monkeypatch.setattr("enclave_image.debian.fetch.fetch", lambda *_, **__: {})
    monkeypatch.setattr(source, "_build", lambda *_: source.Kernel(b"kernel", "config"))
    assert build_kernel("arm64", cache=tmp_path).image == b"kernel"
    (folder,) = (tmp_path / "kernels").iterdir()
    (folder / "image").write_bytes(b"other")
    with pytest.raises(ImageError, match="damaged"):
        build_kernel("arm64", cache=tmp_path)


@pytest.mark.enclave
@pytest.mark.timeout(3600)
@pytest.mark.skipif(os.uname().machine != "x86_64", reason="the locked compiler is for x86-64")
def test_two_kernels_are_equal(tmp_path: Path) -> None:
    fresh = tmp_path / "somewhere" / "else"
    fresh.mkdir(parents=True)
    (fresh / "debian").symlink_to(cache_folder() / "debian")
    try:
        one = build_kernel("x86_64")
        other = build_kernel("x86_64", cache=fresh)
    except FetchFailed as error:
        pytest.skip(f"the packages of {kernel_lock().name} cannot be had: {error}")
    assert one == other
    assert len(one.image) <= 5_000_000
    assert formats.embedded_config(one.image) == one.config
    chosen = given_kernel(one.image, architecture="x86_64")
    assert chosen.version.startswith("6.12.")
    assert len(one.image) < 5 * MIB
