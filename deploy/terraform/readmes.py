"""Write the README of every Terraform module from its own files, or check that they are current.

    python deploy/terraform/readmes.py           # write
    python deploy/terraform/readmes.py --check   # exit code 1 and the names of those out of date

Reads what `terraform fmt` leaves: blocks begin at column 0 and end with a `}` there. The text
at the top is the comment at the head of main.tf.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parent

_BLOCK = re.compile(
    r'^(variable|output|resource|module) "([^"]+)"(?: "([^"]+)")? \{\n(.*?)^\}',
    re.MULTILINE | re.DOTALL,
)
_STRING = r'^  {} += "((?:[^"\\]|\\.)*)"$'


@dataclass(frozen=True)
class Block:
    """One block of a module.

    Attributes:
        kind: `variable`, `output`, `resource` or `module`.
        labels: Its labels.
        body: What stands between its braces.
    """

    kind: str
    labels: tuple[str, ...]
    body: str

    def text(self, name: str) -> str:
        """The string of an argument, or nothing."""
        match = re.search(_STRING.format(name), self.body, re.MULTILINE)
        return match[1].replace('\\"', '"') if match else ""

    def expression(self, name: str) -> str | None:
        """The expression of an argument, in one line; None if there is no such argument."""
        match = re.search(
            rf"^  {name} += (.*?)(?=^  \w+ *[={{]|^  \w+ \{{|\Z)",
            self.body,
            re.MULTILINE | re.DOTALL,
        )
        return " ".join(match[1].split()).strip() if match else None


def blocks(folder: Path) -> Iterator[Block]:
    """All blocks of a module, file by file."""
    for path in sorted(folder.glob("*.tf")):
        for match in _BLOCK.finditer(path.read_text()):
            labels = tuple(filter(None, match.group(2, 3)))
            yield Block(match[1], labels, match[4])


def introduction(folder: Path) -> str:
    """The comment at the head of main.tf."""
    lines = []
    for line in (folder / "main.tf").read_text().splitlines():
        if not line.startswith("#"):
            break
        lines.append(line.removeprefix("#").strip())
    return "\n".join(lines)


def readme(folder: Path) -> str:
    """The README of one module."""
    found = list(blocks(folder))
    parts = [f"# {folder.relative_to(ROOT)}", introduction(folder)]
    versions = folder / "versions.tf"
    needs = re.findall(r'(?:required_)?version += "([^"]+)"', versions.read_text())
    names = ("Terraform", "hashicorp/aws")
    parts.append(
        "Needs " + ", ".join(f"{name} {v}" for name, v in zip(names, needs, strict=False)) + "."
    )
    variables = [each for each in found if each.kind == "variable"]
    if variables:
        rows = ["| variable | type | default | |", "|---|---|---|---|"]
        for each in variables:
            default = each.expression("default")
            shown = "(required)" if default is None else f"`{default}`"
            rows.append(
                f"| `{each.labels[0]}` | `{_cell(each.expression('type') or 'any')}` "
                f"| {_cell(shown)} | {_cell(each.text('description'))} |"
            )
        parts.append("## Variables\n\n" + "\n".join(rows))
    outputs = [each for each in found if each.kind == "output"]
    if outputs:
        rows = ["| output | |", "|---|---|"]
        rows += [f"| `{each.labels[0]}` | {_cell(each.text('description'))} |" for each in outputs]
        parts.append("## Outputs\n\n" + "\n".join(rows))
    made = [".".join(each.labels) for each in found if each.kind == "resource"]
    made += [f"module.{each.labels[0]}" for each in found if each.kind == "module"]
    if made:
        parts.append("## What it makes\n\n" + "\n".join(f"- `{name}`" for name in sorted(made)))
    parts.append("<!-- Written by deploy/terraform/readmes.py: change the .tf files instead. -->")
    return "\n\n".join(parts) + "\n"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def modules() -> list[Path]:
    """Every folder that holds a module."""
    found = {path.parent for path in ROOT.rglob("main.tf") if ".terraform" not in path.parts}
    return sorted(found)


def main() -> None:
    """Write or check."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--check", action="store_true")
    check = parser.parse_args().check
    stale = []
    for folder in modules():
        path, text = folder / "README.md", readme(folder)
        if not path.is_file() or path.read_text() != text:
            stale.append(str(path.relative_to(ROOT)))
            if not check:
                path.write_text(text)
    if check and stale:
        sys.exit(f"out of date: {', '.join(stale)}; run python deploy/terraform/readmes.py")


if __name__ == "__main__":
    main()
