"""What may be in a line of the log."""

from __future__ import annotations

import ast
import json
import logging
from pathlib import Path

import pytest

import gateway
from gateway.telemetry.logging import FIELDS, JsonFormatter
from tests.builds import python_files

SOURCES = python_files(Path(gateway.__file__).parent)


def extras(source: Path) -> list[str]:
    """The names in every `_log.…(…, extra={…})` of a file."""
    return [
        str(key.value)
        for call in ast.walk(ast.parse(source.read_text()))
        if isinstance(call, ast.Call) and ast.unparse(call.func).startswith("_log.")
        for keyword in call.keywords
        if keyword.arg == "extra" and isinstance(keyword.value, ast.Dict)
        for key in keyword.value.keys
        if isinstance(key, ast.Constant)
    ]


def test_every_field_that_is_logged_is_one_that_is_written() -> None:
    used = {name for source in SOURCES for name in extras(source)}
    assert len(used) > 5
    assert used <= set(FIELDS)


@pytest.mark.parametrize("name", ["expires", "count", "head", "enclave", "reason"])
def test_a_field_is_in_the_line(name: str) -> None:
    record = logging.makeLogRecord({"msg": "event", name: 17})
    assert json.loads(JsonFormatter().format(record))[name] == 17


def test_nothing_else_is_in_the_line() -> None:
    record = logging.makeLogRecord({"msg": "event", "body": "secret", "reason": None})
    line = json.loads(JsonFormatter().format(record))
    assert set(line) == {"time", "level", "logger", "event"}
