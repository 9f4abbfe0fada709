"""Terraform as far as docs/deploy.md uses it: it knows the variables and outputs that there are.

    fake_terraform.py [-chdir=FOLDER] init | apply | output -raw NAME

`apply` refuses a variable that the configuration does not declare, and keeps what it was given in
$APPLIED, one JSON object a line. `output` refuses a name that is not an output.
"""

from __future__ import annotations

import json
import os
import re
import sys
from pathlib import Path
from typing import Any

from blindgate.attestation import PcrSet
from blindgate.policy.writer import write_policy

ACCOUNT = "arn:aws:iam::111122223333:role"
FIXED = {
    "key_arn": os.environ["KEY_ARN"],
    "artifact_bucket": "blindgate-artifacts",
    "api_keys_secret": "blindgate/api-keys",
}


def declared(folder: Path, kind: str) -> set[str]:
    """The names of the blocks of one kind."""
    text = "\n".join(path.read_text() for path in folder.glob("*.tf"))
    return set(re.findall(rf'^{kind} "(\w+)"', text, re.MULTILINE))


def given(folder: Path) -> dict[str, Any]:
    """The variables that the folder's files set; strings only, where a file is not JSON."""
    values: dict[str, Any] = json.loads((folder / "terraform.tfvars.json").read_text())
    for path in folder.glob("*.auto.tfvars"):
        values |= re.findall(r'^(\w+) *= "(.*)"$', path.read_text(), re.MULTILINE)
    if unknown := values.keys() - declared(folder, "variable"):
        sys.exit(f"no variable {', '.join(sorted(unknown))}")
    return values


def main() -> None:
    """Run one command."""
    arguments = sys.argv[1:]
    folder = Path()
    if arguments[0].startswith("-chdir="):
        folder = Path(arguments.pop(0).removeprefix("-chdir="))
    match arguments:
        case ["init"]:
            (folder / ".terraform").mkdir(exist_ok=True)
        case ["apply"]:
            if not (folder / ".terraform").is_dir():
                sys.exit("terraform init comes first")
            with Path(os.environ["APPLIED"]).open("a") as file:
                file.write(json.dumps(given(folder)) + "\n")
        case ["output", "-raw", name]:
            if name not in declared(folder, "output"):
                sys.exit(f"no output {name}")
            if name == "key_policy":
                files = given(folder).get("pcr_files", {})
                policy = write_policy(
                    pcr_sets=[PcrSet.from_file(Path(path)) for path in files.values()],
                    roles=[f"{ACCOUNT}/blindgate-parent"],
                    admins=given(folder)["admins"],
                    owners=given(folder)["owners"],
                    encryption_context={"purpose": "blindgate"},
                )
                sys.stdout.write(json.dumps(policy))
            else:
                sys.stdout.write(FIXED[name])
        case _:
            sys.exit(f"not known here: terraform {' '.join(arguments)}")


if __name__ == "__main__":
    main()
