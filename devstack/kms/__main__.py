"""`python -m devstack.kms`: what `blindgate dev kms` runs."""

from __future__ import annotations

from blindgate.failures import INSTALL_CHECKOUT, one_line_errors

if __name__ == "__main__":
    with one_line_errors("devstack.kms", install=INSTALL_CHECKOUT):
        import typer

        from devstack.kms.command import kms

        typer.run(kms)
