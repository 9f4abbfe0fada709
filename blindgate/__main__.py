"""`python -m blindgate`: the same as the `blindgate` command."""

from __future__ import annotations

from blindgate.cli import main

if __name__ == "__main__":
    main()
