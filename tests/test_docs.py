"""What the documentation points to exists."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Any

import pytest
import typer

ROOT = Path(__file__).resolve().parents[1]
PAGES = [
    *(ROOT / f"{name}.md" for name in ("README", "CONTRIBUTING", "CHANGELOG", "SECURITY")),
    *sorted((ROOT / "docs").glob("*.md")),
    *sorted((ROOT / "docs" / "adr").glob("*.md")),
    *(ROOT / name / "README.md" for name in ("clients/js", "deploy", "devstack/kms")),
    ROOT / "deploy" / "observability" / "README.md",
]

_LINK = re.compile(r"\]\(([^)#\s]+)(?:#[^)]*)?\)")
_TEST = re.compile(r"`(tests/[\w/]+\.py)(?:::(\w+))?`")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_relative_link_leads_somewhere(page: Path) -> None:
    targets = [each for each in _LINK.findall(page.read_text()) if "://" not in each]
    assert [each for each in targets if not (page.parent / each).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_test_that_is_named_exists(page: Path) -> None:
    missing = []
    for file, name in _TEST.findall(page.read_text()):
        path = ROOT / file
        names = set()
        if path.is_file():
            tree = ast.parse(path.read_text())
            kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
            names = {node.name for node in ast.walk(tree) if isinstance(node, kinds)}
        if not path.is_file() or (name and name not in names):
            missing.append(f"{file}::{name}")
    assert missing == []


def test_everything_in_the_glossary_is_where_it_says() -> None:
    rows = (ROOT / "docs" / "glossary.md").read_text().splitlines()
    places = [
        each
        for row in rows
        if row.startswith("| ") and row.count(" | ") >= 3
        for each in re.findall(r"`([\w./-]+)`", row.split(" | ")[2])
    ]
    assert len(places) > 30
    assert [each for each in places if not (ROOT / each).exists()] == []


def test_every_decision_record_is_listed_and_has_its_three_parts() -> None:
    folder = ROOT / "docs" / "adr"
    listed = set(_LINK.findall((folder / "README.md").read_text()))
    records = {path.name: path.read_text() for path in folder.glob("0*.md")}
    assert set(records) == listed
    for name, text in records.items():
        assert text.startswith(f"# {name[:4]}: "), name
        headings = re.findall(r"^## (.*)$", text, re.MULTILINE)
        assert headings == ["Context", "Decision", "Consequences"], name


# -- The commands that the pages name --------------------------------------------------------------

_BLOCK = re.compile(r"```(?:console|sh|bash)?\n(.*?)```", re.DOTALL)
_INLINE = re.compile(r"`((?:blindgate|make) [^`\n]+)`")
_PROGRAM = re.compile(r"(?:^|[\s(\"'])(?:\.venv/bin/)?(blindgate|make) +([^|&;)]*)")


def _commands(text: str) -> list[tuple[str, list[str]]]:
    """Every call of `blindgate` and `make` in a page: blocks of commands, and code in its lines."""
    lines = _INLINE.findall(_BLOCK.sub("", text))
    for block in _BLOCK.findall(text):
        joined = block.replace("\\\n", " ")
        lines += [line[2:] for line in joined.splitlines() if line.startswith(("$ ", "# "))]
    found = []
    for line in lines:
        for program, rest in _PROGRAM.findall(line.split("  #")[0]):
            words = [word.strip("\"'`,.:") for word in rest.split(">")[0].split()]
            found.append((program, words))
    return found


@pytest.fixture(scope="module")
def application() -> Any:
    from blindgate.cli.commands import add_plugins, app

    add_plugins()
    return typer.main.get_command(app)


def _mistake(application: Any, words: list[str]) -> str | None:
    """What `blindgate` would not know of these words."""
    command, rest = application, list(words)
    while rest and hasattr(command, "commands") and not rest[0].startswith("-"):
        name = rest.pop(0)
        if name == "…":
            return None
        if name not in command.commands:
            # `policy` is a command of its own too, which takes arguments.
            return f"no command {name}" if not name.isupper() else None
        command = command.commands[name]
    options = {name for each in command.params for name in (*each.opts, *each.secondary_opts)}
    options |= {"--help"}
    for word in rest:
        if re.match(r"--?[a-zA-Z]", word) and word.split("=")[0] not in options:
            return f"no option {word}"
    return None


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_command_that_is_named_is_one(page: Path, application: Any) -> None:
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    mistakes = []
    for program, words in _commands(page.read_text()):
        if program == "blindgate":
            mistake = _mistake(application, words)
        else:
            goal = next((each for each in words if "=" not in each), "")
            mistake = None if goal in targets | {"", "…"} else f"no target {goal}"
        if mistake:
            mistakes.append(f"{program} {' '.join(words)}: {mistake}")
    assert mistakes == []


def test_a_command_that_is_none_is_noticed(application: Any) -> None:
    text = "```console\n$ blindgate dev down --state x\n```\nor `blindgate detect --gatway URL`."
    commands = _commands(text)
    assert commands == [
        ("blindgate", ["detect", "--gatway", "URL"]),
        ("blindgate", ["dev", "down", "--state", "x"]),
    ]
    assert [_mistake(application, words) for _, words in commands] == [
        "no option --gatway",
        "no command down",
    ]
