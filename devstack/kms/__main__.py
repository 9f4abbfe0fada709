"""`python -m devstack.kms`: what `blindgate dev kms` runs."""

from __future__ import annotations

from blindgate.failures import one_line_errors

if __name__ == "__main__":
    with one_line_errors("devstack.kms", extra="stack"):
        import typer

        from devstack.kms.command import kms

        typer.run(kms)
