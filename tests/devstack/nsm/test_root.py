"""The dev root and its folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from blindgate.attestation import Root
from devstack.nsm import DevRoot
from devstack.nsm.root import CERTIFICATE_FILE, KEY_FILE, DevRootError
from tests.vectors.forge import OTHER_ROOT


def test_a_root_is_kept_and_found_again(tmp_path: Path) -> None:
    made = DevRoot.create(tmp_path / "root")
    assert DevRoot.load(tmp_path / "root").certificate == made.certificate
    assert DevRoot.load_or_create(tmp_path / "root").certificate == made.certificate
    assert Root.from_pem((tmp_path / "root" / CERTIFICATE_FILE).read_bytes()) == made.root


def test_its_key_is_for_this_user_only(tmp_path: Path) -> None:
    DevRoot.load_or_create(tmp_path)
    assert (tmp_path / KEY_FILE).stat().st_mode & 0o777 == 0o600


def test_an_existing_root_is_not_replaced(tmp_path: Path) -> None:
    DevRoot.create(tmp_path)
    with pytest.raises(DevRootError, match="cannot create"):
        DevRoot.create(tmp_path)


def test_no_root(tmp_path: Path) -> None:
    with pytest.raises(DevRootError, match="no root"):
        DevRoot.load(tmp_path)


def test_files_that_do_not_belong_together(tmp_path: Path) -> None:
    DevRoot.create(tmp_path)
    (tmp_path / CERTIFICATE_FILE).write_bytes(OTHER_ROOT.pem)
    with pytest.raises(DevRootError, match="belong together"):
        DevRoot.load(tmp_path)


def test_files_that_are_none(tmp_path: Path) -> None:
    DevRoot.create(tmp_path)
    (tmp_path / KEY_FILE).write_bytes(b"junk")
    with pytest.raises(DevRootError, match="cannot be read"):
        DevRoot.load(tmp_path)


def test_repr_holds_no_key() -> None:
    assert "key" not in repr(OTHER_ROOT).replace("Key", "key").split("certificate=")[0]
    assert "EllipticCurvePrivateKey" not in repr(OTHER_ROOT)
