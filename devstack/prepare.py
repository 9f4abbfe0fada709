"""What `Stack.start` does between starting programs, for stacks that something else starts.

docker-compose.dev.yml runs it twice: `root` before the dev KMS, which must know the root that it
trusts, and `key` once it listens: the key, the model, the measured configuration, its measurements,
and the key policy that names them.

Example:
    python -m devstack.prepare root
"""

from __future__ import annotations

import argparse
from pathlib import Path

from blindgate.failures import INSTALL_CHECKOUT, one_line_errors
from devstack.model import obtain
from devstack.nsm.root import DevRoot
from devstack.places import Places, default_state
from devstack.stack import Options, Stack
from devstack.supervisor import Supervisor


class Preparation(Stack):
    """A stack whose programs are started by something else."""

    def __init__(self, places: Places, options: Options) -> None:
        super().__init__(places, options, Supervisor(None))

    def prepare(self) -> None:
        """Set up the key and everything that its policy needs; the dev KMS must listen.

        Raises:
            StackError: The key cannot be set up.
        """
        self._key_arn = self._ensure_key()
        self.configure()
        self._put_policy()
        # Its allow-list is written where its command is put together.
        self.proxy()


def main() -> None:
    """Prepare one step."""
    parser = argparse.ArgumentParser(prog="devstack.prepare", description=__doc__)
    parser.add_argument("step", choices=("root", "key"))
    parser.add_argument("--state", type=Path, default=None, help="as for `blindgate dev up`")
    parser.add_argument("--model", default="", help="a model's name or folder")
    arguments = parser.parse_args()
    with one_line_errors("prepare", install=INSTALL_CHECKOUT):
        places = Places.prepare(arguments.state or default_state())
        if arguments.step == "root":
            DevRoot.load_or_create(places.state)
        else:
            Preparation(places, Options(model=obtain(arguments.model))).prepare()


if __name__ == "__main__":
    main()
