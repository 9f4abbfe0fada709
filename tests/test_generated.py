"""`make check-generated` notices what it is for."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests import generated
from tests.generated import LOCKED, Generated, lock_faults
from tests.requirements import ROOT, VERSION


def test_a_file_that_is_missing_or_differs_is_out_of_date(tmp_path: Path) -> None:
    path = tmp_path / "page.md"
    page = Generated(path, lambda: "new\n")
    assert not page.is_current()
    path.write_text("old\n")
    assert not page.is_current()
    path.write_text("new\n")
    assert page.is_current()


def test_a_check_names_what_is_out_of_date_and_writes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "page.md"
    path.write_text("old\n")
    monkeypatch.setattr(generated, "ROOT", tmp_path)
    monkeypatch.setattr(generated, "LOCKED", {})
    monkeypatch.setattr(generated, "version_faults", lambda: iter(()))
    monkeypatch.setattr(generated, "sdk_faults", lambda: iter(()))
    monkeypatch.setattr(generated, "generated", lambda: iter([Generated(path, lambda: "new\n")]))
    assert generated.main(["--check"]) == 1
    assert capsys.readouterr().err == "page.md is out of date: make generated\n"
    assert path.read_text() == "old\n"
    assert generated.main([]) == 0
    assert path.read_text() == "new\n"
    assert generated.main(["--check"]) == 0


@pytest.mark.parametrize("name", LOCKED)
def test_a_lock_that_lacks_a_requirement_or_holds_another_version_is_a_fault(name: str) -> None:
    lock = (ROOT / "locks" / name).read_text()
    assert "\nhttpx==0.28.1" in lock
    assert list(lock_faults(name, lock.replace("\nhttpx==0.28.1", "\nother==1"))) == [
        f"locks/{name} has no httpx: make lock"
    ]
    (fault,) = lock_faults(name, lock.replace("\nhttpx==0.28.1", "\nhttpx==0.1"))
    assert fault == f"locks/{name} has httpx 0.1, not >=0.28: make lock"


def test_another_version_in_one_place_is_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("blindgate.oip.metadata.VERSION", "9.9")
    assert [each for each in generated.version_faults() if "9.9" in each] == [
        f"blindgate/oip/metadata.py says version 9.9, and pyproject.toml {VERSION}"
    ]
