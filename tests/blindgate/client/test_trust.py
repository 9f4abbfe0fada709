"""What a person may write as `trust=`."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from blindgate.attestation import AWS_NITRO_ROOT, InvalidTrust, PcrSet, Trust
from blindgate.client import Blindgate, resolve
from devstack.nsm import DevRoot
from tests.blindgate.client.gateway import PCRS, URL, trust, write_state


def test_a_trust_policy_is_taken_as_it_is(root: DevRoot) -> None:
    policy = trust(root)
    assert resolve(policy) is policy


def test_pcr_files_are_trusted_under_the_aws_root(tmp_path: Path, root: DevRoot) -> None:
    write_state(tmp_path / "blue", root, PCRS)
    write_state(tmp_path / "green", root, {**PCRS, 0: bytes([7]) * 48})
    one, other = tmp_path / "blue" / "pcrs.json", tmp_path / "green" / "pcrs.json"
    for written in (one, str(one), PcrSet.from_file(one)):
        policy = resolve(written)
        assert policy.root is AWS_NITRO_ROOT
        assert [pcr_set.values[0] for pcr_set in policy.pcr_sets] == [PCRS[0]]
    policy = resolve([one, str(other)])
    assert [pcr_set.values[0][0] for pcr_set in policy.pcr_sets] == [PCRS[0][0], 7]


def test_nothing_is_trusted_by_mistake(tmp_path: Path) -> None:
    with pytest.raises(InvalidTrust):
        resolve([])
    with pytest.raises(InvalidTrust):
        Blindgate(URL, trust=tmp_path / "missing.json")
    with pytest.raises(TypeError):
        Blindgate(URL)  # type: ignore[call-arg]


@pytest.mark.parametrize("named", ["folder", "file", "default"])
def test_development_is_said_aloud(
    tmp_path: Path,
    root: DevRoot,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    named: str,
) -> None:
    folder = tmp_path / "blindgate" / "dev"
    write_state(folder, root, PCRS)
    monkeypatch.delenv("BLINDGATE_DEV_ROOT", raising=False)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    if named != "default":
        value = folder if named == "folder" else folder / "root.pem"
        monkeypatch.setenv("BLINDGATE_DEV_ROOT", str(value))
    with caplog.at_level(logging.WARNING):
        policy = resolve("development")
    assert isinstance(policy, Trust)
    assert policy.root.fingerprint == root.root.fingerprint
    assert "no enclave" in caplog.text


def test_development_without_a_stack_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BLINDGATE_DEV_ROOT", str(tmp_path))
    with pytest.raises(InvalidTrust, match="blindgate dev up"):
        resolve("development")
