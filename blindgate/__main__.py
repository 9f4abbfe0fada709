"""`python -m blindgate`: the same as the `blindgate` command."""

from __future__ import annotations

from blindgate.cli import main

main()
