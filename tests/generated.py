"""Files of the repository that a program writes: `make generated` writes them again.

    python -m tests.generated           # write those that are out of date
    python -m tests.generated --check   # exit code 1 and their names: `make check-generated`

One table for all of them, so that a change of the code cannot leave one behind. Files that need a
registry are only checked: locks against `pyproject.toml`, and the versions of the npm packages.
"""

from __future__ import annotations

import argparse
import json
import runpy
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.requirements import CLIENT, EXTRAS, GROUPS, ROOT, VERSION

#: What each lock must satisfy, as `make lock` makes it.
LOCKED: Final = {
    "dev.txt": [*CLIENT, *EXTRAS["cli"], *GROUPS["dev"]],
    "gateway.txt": [*CLIENT, *GROUPS["gateway"], *GROUPS["tracing"], *GROUPS["redis"]],
    "enclave.txt": [*CLIENT, *GROUPS["enclave"]],
}
#: npm packages that are released together with the Python package.
NPM_PACKAGES: Final = ("clients/js", "console")


@dataclass(frozen=True, slots=True)
class Generated:
    """A file that a program writes.

    Attributes:
        path: Where it is.
        text: Makes its content.
    """

    path: Path
    text: Callable[[], str]

    def is_current(self) -> bool:
        """Whether the file holds what the program writes now."""
        return self.path.is_file() and self.path.read_text(encoding="utf-8") == self.text()


def generated() -> Iterator[Generated]:
    """All such files."""
    from gateway.api import errors_page
    from gateway.api.openapi import __main__ as openapi
    from tests.vectors import attestation, link, sealing
    from tools import generate_sync_client as sdk

    for path, text in sdk.generate(sdk.CLIENT).items():
        yield Generated(path, partial(str, text))
    yield Generated(ROOT / "docs/errors.md", errors_page.page)
    yield Generated(ROOT / "docs/openapi.json", openapi.document)
    yield Generated(attestation.PATH, attestation.dump)
    yield Generated(link.PATH, link.dump)
    yield Generated(sealing.PATH, sealing.dump)
    terraform = runpy.run_path(str(ROOT / "deploy/terraform/readmes.py"))
    for folder in terraform["modules"]():
        yield Generated(folder / "README.md", partial(terraform["readme"], folder))
    policies = ROOT / "deploy" / "policies"
    yield Generated(policies / "example-policy.json", lambda: _example_policy(policies))


def _example_policy(folder: Path) -> str:
    """What the command in the folder's README prints."""
    from tests import command_line

    lines = (folder / "README.md").read_text().replace("\\\n", " ").splitlines()
    (line,) = [each for each in lines if "policy --pcrs" in each]
    words = line.split(">", maxsplit=1)[0].split()[1:]
    done = command_line.run(*(folder / each if each.endswith(".json") else each for each in words))
    return done.stdout


def lock_faults(name: str, text: str) -> Iterator[str]:
    """What a lock lacks of that which `pyproject.toml` asks for.

    Args:
        name: Of the lock, a key of `LOCKED`.
        text: Its content.
    """
    locked: dict[str, set[str]] = {}
    for line in text.splitlines():
        if "==" in line and not line.startswith((" ", "#")):
            pinned = Requirement(line.rstrip(" \\"))
            versions = {each.version for each in pinned.specifier}
            locked.setdefault(canonicalize_name(pinned.name), set()).update(versions)
    for asked in map(Requirement, LOCKED[name]):
        versions = locked.get(canonicalize_name(asked.name), set())
        if not versions:
            yield f"locks/{name} has no {asked.name}: make lock"
        for version in sorted(versions):
            if version not in asked.specifier:
                yield f"locks/{name} has {asked.name} {version}, not {asked.specifier}: make lock"


def sdk_faults() -> Iterator[str]:
    """Modules of the synchronous SDK that no module of the asynchronous one stands for."""
    from tools import generate_sync_client as sdk

    wanted = sdk.generate(sdk.CLIENT)
    for path in sorted(set((sdk.CLIENT / "_sync").glob("*.py")) - set(wanted)):
        yield f"{path.relative_to(ROOT)} has no source: delete it"


def version_faults() -> Iterator[str]:
    """Places that name another version of the project than `pyproject.toml`."""
    from blindgate.oip import metadata

    found = {"blindgate/oip/metadata.py": metadata.VERSION}
    for folder in NPM_PACKAGES:
        for name in ("package.json", "package-lock.json"):
            loaded = json.loads((ROOT / folder / name).read_text())
            found[f"{folder}/{name}"] = loaded["version"]
    for place, version in found.items():
        if version != VERSION:
            yield f"{place} says version {version}, and pyproject.toml {VERSION}"


def main(arguments: list[str] | None = None) -> int:
    """Write or check.

    Returns:
        The exit code.
    """
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--check", action="store_true", help="write nothing")
    check = parser.parse_args(arguments).check
    faults = [*version_faults(), *sdk_faults()]
    for name in LOCKED:
        faults += lock_faults(name, (ROOT / "locks" / name).read_text())
    for each in generated():
        if each.is_current():
            continue
        place = each.path.relative_to(ROOT)
        if check:
            faults.append(f"{place} is out of date: make generated")
        else:
            each.path.write_text(each.text(), encoding="utf-8")
            print(f"wrote {place}")
    for fault in faults:
        print(fault, file=sys.stderr)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
