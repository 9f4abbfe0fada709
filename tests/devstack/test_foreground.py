"""`blindgate dev up`: one stack a folder, and lines that can be pasted as they are."""

from __future__ import annotations

import json
import os
import shlex
from pathlib import Path
from typing import Any

import pytest

from devstack import foreground
from devstack.places import Places
from devstack.stack import Running, StackError


def running(folder: Path, **changes: Any) -> dict[str, Any]:
    return {
        "gateway": "http://127.0.0.1:8080",
        "kms": "https://127.0.0.1:4599",
        "key_alias": "alias/dev",
        "key_arn": "arn:aws:kms:us-east-1:111122223333:key/1",
        "state": str(folder),
        "pids": {"worker": os.getpid()},
        **changes,
    }


@pytest.fixture
def places(tmp_path: Path) -> Places:
    return Places.prepare(tmp_path / "state")


def test_a_second_stack_in_a_folder_is_refused(places: Places) -> None:
    foreground.refuse_second(places)
    places.running.write_text(json.dumps(running(places.state)))
    with pytest.raises(StackError, match=r"runs in .* already, at http://127\.0\.0\.1:8080"):
        foreground.refuse_second(places)


@pytest.mark.parametrize("left", ["", "{}", "[]", '{"gateway": 1}'])
def test_what_a_dead_stack_left_is_no_stack(places: Places, left: str) -> None:
    places.running.write_text(left)
    foreground.refuse_second(places)
    # 2^22 is more than any process id of Linux's default.
    places.running.write_text(json.dumps(running(places.state, pids={"worker": 4_194_305})))
    foreground.refuse_second(places)


def test_a_folder_is_named_unless_it_is_the_default_one(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("BLINDGATE_DEV_ROOT", str(tmp_path / "default"))
    assert foreground.state_option(tmp_path / "default") == ""
    odd = tmp_path / "with a space"
    assert shlex.split(foreground.state_option(odd)) == ["--state", str(odd)]


def test_the_welcome_s_commands_can_be_read_by_a_shell(tmp_path: Path) -> None:
    odd = tmp_path / "with a space"
    text = foreground._welcome(Running(**running(odd))).plain
    commands = [line.strip() for line in text.splitlines() if "PHOTO" in line or "eval" in line]
    assert len(commands) == 4
    for command in commands:
        assert shlex.split(command)
    (evaluated,) = [line for line in commands if line.startswith("eval")]
    assert shlex.split(shlex.split(evaluated)[1].removeprefix("$(").removesuffix(")"))[-2:] == [
        "--state",
        str(odd),
    ]
