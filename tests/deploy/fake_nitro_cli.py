"""A stand-in for nitro-cli 1.5.0 that keeps its enclaves in one file, `$FAKE_NITRO_STATE`.

It prints what nitro-cli prints and fails where nitro-cli fails:

- `run-enclave` refuses too little memory (E26). All boots share vsock port 9000, so a second one
  at the same time fails (E36); an image that does not boot fails (E36) after the whole wait.
- `describe-enclaves` prints the enclaves that answer, and then fails (E39) if one of them is
  ending. An enclave whose kernel halted is RUNNING, like any other.
- `terminate-enclave` takes a while, in which the enclave is ending.

The file may hold `boot_seconds`, how long a boot takes; `boots` false and `wait_seconds`, how long
nitro-cli then waits (180 s scaled down); `flags` of a new enclave; `ending`, names of enclaves
whose process does not answer; `ending_seconds`; `broken`, the error of every describe-enclaves.
Every call is added to `calls`.

Source: aws/aws-nitro-enclaves-cli 1.5.0, `src/enclave_proc_comm.rs` and
`src/enclave_proc/resource_manager.rs`.
"""

from __future__ import annotations

import argparse
import fcntl
import json
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

MIB = 1024 * 1024
STATE = Path(os.environ["FAKE_NITRO_STATE"])


@contextmanager
def state() -> Iterator[dict[str, Any]]:
    """The state; what the block changes is kept."""
    with STATE.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        found: dict[str, Any] = json.loads(STATE.read_text()) if STATE.exists() else {}
        found.setdefault("enclaves", [])
        found.setdefault("ending", [])
        yield found
        partial = STATE.with_suffix(".part")
        partial.write_text(json.dumps(found))
        partial.replace(STATE)


def run(arguments: argparse.Namespace) -> Any:
    if arguments.memory * MIB < 4 * arguments.eif_path.stat().st_size:
        sys.exit("[ E26 ] Insufficient memory requested.")
    with STATE.with_suffix(".port9000").open("w") as port:
        try:
            fcntl.flock(port, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            sys.exit("[ E36 ] Enclave boot failure. Failed to bind to vsock port 9000")
        with state() as now:
            seconds = now.get("boot_seconds", 0.0)
            boots, wait = now.get("boots", True), now.get("wait_seconds", 0.5)
        print("Start allocating memory...", file=sys.stderr, flush=True)
        if not boots:
            time.sleep(wait)
            sys.exit("[ E36 ] Enclave boot failure. No `ready` signal came from the enclave")
        time.sleep(seconds)
    with state() as now:
        started = {
            "EnclaveName": arguments.enclave_name,
            "EnclaveID": f"i-0-enc{len(now['calls'])}",
            "EnclaveCID": arguments.enclave_cid,
            "NumberOfCPUs": arguments.cpu_count,
            "MemoryMiB": arguments.memory,
        }
        now["enclaves"].append({**started, "State": "RUNNING", "Flags": now.get("flags", "NONE")})
    return started


def describe() -> Any:
    with state() as now:
        if now.get("broken"):
            sys.exit(now["broken"])
        answering = [
            each
            for each in now["enclaves"]
            if not isinstance(each, dict) or each["EnclaveName"] not in now["ending"]
        ]
        ending = now["ending"]
    if ending:
        print(json.dumps(answering, indent=2), flush=True)
        sys.exit("[ E39 ] Enclave process connection failure.")
    return answering


def terminate(name: str) -> Any:
    with state() as now:
        named = [each for each in now["enclaves"] if isinstance(each, dict)]
        if name not in [each["EnclaveName"] for each in named]:
            sys.exit("[ E31 ] No enclave of this name")
        now["ending"].append(name)
        seconds = now.get("ending_seconds", 0.0)
    time.sleep(seconds)
    with state() as now:
        now["ending"].remove(name)
        now["enclaves"] = [
            each
            for each in now["enclaves"]
            if not isinstance(each, dict) or each["EnclaveName"] != name
        ]
    return {"EnclaveName": name, "Terminated": True}


def main() -> None:
    parser = argparse.ArgumentParser()
    commands = parser.add_subparsers(dest="command", required=True)
    run_enclave = commands.add_parser("run-enclave")
    run_enclave.add_argument("--enclave-name", required=True)
    run_enclave.add_argument("--eif-path", type=Path, required=True)
    run_enclave.add_argument("--enclave-cid", type=int, required=True)
    run_enclave.add_argument("--cpu-count", type=int, required=True)
    run_enclave.add_argument("--memory", type=int, required=True)
    commands.add_parser("describe-enclaves")
    terminate_enclave = commands.add_parser("terminate-enclave")
    terminate_enclave.add_argument("--enclave-name", required=True)
    arguments = parser.parse_args()

    with state() as now:
        now.setdefault("calls", []).append(sys.argv[1:])
    if arguments.command == "run-enclave":
        answer = run(arguments)
    elif arguments.command == "describe-enclaves":
        answer = describe()
    else:
        answer = terminate(arguments.enclave_name)
    print(json.dumps(answer, indent=2))


if __name__ == "__main__":
    main()
