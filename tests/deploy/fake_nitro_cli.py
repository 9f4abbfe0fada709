"""A stand-in for nitro-cli that keeps its enclaves in one file, `$FAKE_NITRO_STATE`.

It prints what nitro-cli prints, refuses what nitro-cli refuses (error E26), and writes every call
to `calls` in that file.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path
from typing import Any

MIB = 1024 * 1024


def main() -> None:
    path = Path(os.environ["FAKE_NITRO_STATE"])
    state: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    state.setdefault("calls", []).append(sys.argv[1:])
    enclaves = state.setdefault("enclaves", [])

    parser = argparse.ArgumentParser()
    commands = parser.add_subparsers(dest="command", required=True)
    run = commands.add_parser("run-enclave")
    run.add_argument("--enclave-name", required=True)
    run.add_argument("--eif-path", type=Path, required=True)
    run.add_argument("--enclave-cid", type=int, required=True)
    run.add_argument("--cpu-count", type=int, required=True)
    run.add_argument("--memory", type=int, required=True)
    commands.add_parser("describe-enclaves")
    terminate = commands.add_parser("terminate-enclave")
    terminate.add_argument("--enclave-name", required=True)
    arguments = parser.parse_args()

    answer: Any = None
    error = ""
    if arguments.command == "run-enclave":
        if arguments.memory * MIB < 4 * arguments.eif_path.stat().st_size:
            error = "[ E26 ] Insufficient memory requested."
        else:
            answer = {
                "EnclaveName": arguments.enclave_name,
                "EnclaveID": f"i-0-enc{len(state['calls'])}",
                "EnclaveCID": arguments.enclave_cid,
                "NumberOfCPUs": arguments.cpu_count,
                "MemoryMiB": arguments.memory,
            }
            enclaves.append({**answer, "State": "RUNNING", "Flags": state.get("flags", "NONE")})
            print("Start allocating memory...", file=sys.stderr)
    elif arguments.command == "describe-enclaves":
        answer = enclaves
    else:
        found = [each for each in enclaves if each["EnclaveName"] == arguments.enclave_name]
        if found:
            enclaves.remove(found[0])
            answer = {"EnclaveName": arguments.enclave_name, "Terminated": True}
        else:
            error = "[ E31 ] No enclave of this name"
    partial = path.with_suffix(".part")
    partial.write_text(json.dumps(state))
    partial.replace(path)
    if error:
        sys.exit(error)
    print(json.dumps(answer, indent=2))


if __name__ == "__main__":
    main()
